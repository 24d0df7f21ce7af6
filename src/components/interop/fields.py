"""Fields of a ``config.json`` and options of a recipe. Each kind of field converts in both directions.

``ours`` is a dotted path from the config's root (``model.attention.n_heads``). An absent field takes ``default``, the value that
the model's class in transformers uses. A field without a default is required.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

REQUIRED = object()
Theirs = Mapping[str, Any]  # config.json: plain data that anybody may have written
Fields = dict[str, Any]  # fields of a config.json that are to be written, by name
Options = dict[str, Any]  # options of a recipe by their dotted path: ``model.attention.n_heads``
Node = dict[str, Any]  # a part of a spelled-out config: its name and its options
Get = Callable[[str], Any]  # a value of our spelled-out config by path, None where there is none


class Unsupported(ValueError):
    """A field has a value that no recipe can express. The message names the field, its value, and the supported values."""


@dataclass(frozen=True)
class Same:
    """The value itself. ``ours``: the option, or several that one field sets, of which the first is written."""

    theirs: str
    ours: str | tuple[str, ...]
    default: Any = REQUIRED

    @property
    def names(self) -> tuple[str, ...]:
        return (self.theirs,)

    @property
    def options(self) -> tuple[str, ...]:
        return (self.ours,) if isinstance(self.ours, str) else self.ours

    def read(self, config: Theirs) -> Options:
        return dict.fromkeys(self.options, value_of(config, self.theirs, self.default))

    def write(self, get: Get) -> Fields:
        return {self.theirs: get(self.options[0])}


@dataclass(frozen=True)
class Mapped:
    """Maps their values to ours: ``{"gelu_new": "gelu_tanh"}``. If several of theirs mean one of ours, the first is written."""

    theirs: str
    ours: str
    table: Mapping[Any, Any]
    default: Any = REQUIRED

    @property
    def names(self) -> tuple[str, ...]:
        return (self.theirs,)

    def read(self, config: Theirs) -> Options:
        value = value_of(config, self.theirs, self.default)
        if value not in self.table:
            raise Unsupported(f"{self.theirs}={value!r}: there are {', '.join(map(repr, self.table))}")
        return {self.ours: self.table[value]}

    def write(self, get: Get) -> Fields:
        value = get(self.ours)
        found = next((theirs for theirs, ours in self.table.items() if ours == value), REQUIRED)
        if found is REQUIRED:
            raise Unsupported(f"{self.ours}={value!r}: {self.theirs} knows {', '.join(map(repr, self.table.values()))}")
        return {self.theirs: found}


@dataclass(frozen=True)
class Constant:
    """A field that changes the numbers and has one supported value. ``absent``: whether the field may be missing."""

    theirs: str
    value: Any
    absent: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        return (self.theirs,)

    def read(self, config: Theirs) -> Options:
        value = value_of(config, self.theirs, self.value if self.absent else REQUIRED)
        if value != self.value:
            raise Unsupported(f"{self.theirs}={value!r}: only {self.value!r} is supported")
        return {}

    def write(self, get: Get) -> Fields:  # noqa: ARG002
        return {self.theirs: self.value}


@dataclass(frozen=True)
class Custom:
    """Several fields and options that belong together: ``read(config) -> {ours: value}``, ``write(get) -> {theirs: value}``."""

    names: tuple[str, ...]
    read: Callable[[Theirs], Options]
    write: Callable[[Get], Fields]


Field = Same | Mapped | Constant | Custom

# Fields that change no number of a forward pass: how to train, to cache, to generate, where it came from.
FREE = frozenset(
    (
        *(
            "architectures",
            "model_type",
            "transformers_version",
            "torch_dtype",
            "dtype",
            "_name_or_path",
            "_commit_hash",
            "auto_map",
        ),
        *(
            "use_cache",
            "initializer_range",
            "initializer_factor",
            "output_attentions",
            "output_hidden_states",
            "return_dict",
            "torchscript",
        ),
        *(
            "bos_token_id",
            "eos_token_id",
            "pad_token_id",
            "sep_token_id",
            "cls_token_id",
            "decoder_start_token_id",
            "forced_eos_token_id",
        ),
        *(
            "forced_bos_token_id",
            "chunk_size_feed_forward",
            "id2label",
            "label2id",
            "problem_type",
            "task_specific_params",
            "tokenizer_class",
        ),
        *(
            "gradient_checkpointing",
            "use_bfloat16",
            "pruned_heads",
            "is_encoder_decoder",
            "is_decoder",
            "add_cross_attention",
            "attn_implementation",
        ),
        *(
            "_attn_implementation",
            "prefix",
            "finetuning_task",
            "remove_invalid_values",
            "cross_attention_hidden_size",
            "tie_encoder_decoder",
        ),
        *("num_labels", "quantization_config", "pretraining_tp", "experts_implementation", "language"),
    )
)


def value_of(config: Theirs, name: str, default: Any = REQUIRED) -> Any:
    if name in config:
        return config[name]
    if default is REQUIRED:
        raise Unsupported(f"{name} is missing, and there is no value that goes without saying")
    return default


# activations by their names in transformers; two of theirs may be one of ours
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "silu": "silu",
    "swish": "silu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
}
