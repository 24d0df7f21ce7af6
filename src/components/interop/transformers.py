"""``import components.interop.transformers``: from then on transformers' Auto classes read the folders that `interop.own` describes.

``AutoModelForCausalLM.from_pretrained``, ``generate``, ``pipeline("text-generation")`` and ``Trainer`` take such a model as one of their own. Transformers
finds no classes in installed packages by itself, so the import is said once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor, nn

from components.core.config_types import Config
from components.core.extras import lacking
from components.core.makers import ScopedMaker, make
from components.core.meta import Undrawn
from components.core.sockets import Batch, Layer, Terms, name_parts
from components.core.traits import turning_points, why_cannot_generate
from components.core.weights import init_of, initialise
from components.interop.convert import spelled_out
from components.interop.own import LABEL, MODEL_TYPE, composed_in
from components.interop.past import Past, batch_of

try:
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import CausalLMOutputWithPast
except ImportError:
    raise lacking("components.interop.transformers", "teaches transformers our models", "transformers") from None

PAST = (
    "cache" if "cache" in {f.name for f in fields(CausalLMOutputWithPast)} else "past_key_values"
)  # its name since 5.2x, and before


class ComponentsConfig(PreTrainedConfig):
    """config.json of a composed model.

    Args:
        composed: what `interop.own` writes: the spelled-out node ``model``, and the format's number.
        vocab_size: ids that the model has rows for.
        use_cache: whether a call that does not say so keeps what it read.
    """

    model_type = MODEL_TYPE
    keys_to_ignore_at_inference = ["cache", "past_key_values"]

    def __init__(
        self, composed: Mapping[str, object] | None = None, vocab_size: int = 0, use_cache: bool = True, **kwargs: Any
    ) -> None:
        self.composed, self.vocab_size, self.use_cache = dict(composed or {}), vocab_size, use_cache
        super().__init__(**kwargs)

    @property
    def model(self) -> Config:
        """The spelled-out node ``model``. UserError if there is none."""
        return composed_in({"composed": self.composed}, "config.json")

    @property
    def hidden_size(self) -> int | None:
        return self.model.get("d_model")

    @property
    def num_hidden_layers(self) -> int | None:
        return self.model.get("n_layers")

    @property
    def max_position_embeddings(self) -> int | None:
        return self.model.get("context_length")


class ComponentsForCausalLM(PreTrainedModel, GenerationMixin):
    """A composed decoder as a model of transformers; ``model`` is the decoder itself.

    Where labels are given, auxiliary losses of its layers (a router's balance) are part of the loss, as in training here.
    """

    config_class = ComponentsConfig
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True  # Trainer gives the number of targets of a whole step
    _no_split_modules = ["Layer"]
    _is_stateful = True  # a recurrent state cannot be cut back, as assisted generation asks
    model: Any

    def __init__(self, config: ComponentsConfig) -> None:
        super().__init__(config)
        node = spelled_out({"model": config.model})["model"]  # options that a newer release has get their defaults
        with Undrawn():
            self.model = make(ScopedMaker(node, where="config.json: model"), "model", vocab_size=config.vocab_size)
        name_parts(self.model)
        if reason := why_cannot_generate(self.model):
            raise ValueError(f"{LABEL} continues text, and {reason}")
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        cache: Past | None = None,
        past_key_values: Past | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | int | None = None,
        return_dict: bool | None = None,
        **more: object,
    ) -> CausalLMOutputWithPast | tuple[object, ...]:
        """Logits (B, T, V), in the model's dtype.

        Args:
            input_ids: (B, T); after a cache those alone that are new.
            attention_mask: (B, T), with a cache (B, all): 0 on padding.
            position_ids: (B, T); without a cache, where they begin anew at 0 another document begins, as in the packed rows of transformers' collators.
            token_type_ids: (B, T), for models that read them.
            labels: (B, T) ids that lie on their tokens, -100 where nothing is asked: they are shifted here.
            cache, past_key_values: what an earlier call returned; the second is its name in older releases.
            use_cache: return one; unsaid: as the config says, and not while training.
            logits_to_keep: of the last positions alone, or of these; 0: of all.
            num_items_in_batch: targets of the whole step that these rows are a part of; unsaid: these rows' own.
            return_dict: False for a tuple.
            more: what other models read; ValueError for what would change the numbers.

        Errors: ValueError where it is asked for what it does not do; UserError where masks or positions do not fit.
        """
        if input_ids is None or any(value is not None and value is not False for name, value in more.items() if name in UNREAD):
            raise ValueError(
                f"{LABEL} reads input_ids, and gives no hidden states or attention weights: components.trace shows those"
            )
        past = past_key_values if cache is None else cache
        wanted = self.config.use_cache and not self.training and labels is None if use_cache is None else use_cache
        if past is None and wanted:
            past = self.new_past()
        batch = batch_of(input_ids, attention_mask, position_ids, token_type_ids, None if past is None else past.cache)
        if labels is None:
            last = isinstance(logits_to_keep, int) and logits_to_keep == 1
            logits, loss = self.model(batch, cache=None if past is None else past.cache, last=last), None
        else:
            logits, loss = self._taught(batch, labels, num_items_in_batch)
        if not isinstance(logits_to_keep, int):
            logits = logits[:, logits_to_keep]
        elif logits_to_keep > 1:
            logits = logits[:, -logits_to_keep:]
        made = CausalLMOutputWithPast(loss=loss, logits=logits)
        if past is not None:
            made[PAST] = past
        return made.to_tuple() if return_dict is False else made

    def new_past(self) -> Past:
        """An empty cache. ValueError for a model whose earlier angles change as a text grows."""
        if turning_points(self.model.modules()):
            raise ValueError(
                "its angles change with the length of a text, so nothing can be kept: generate(..., use_cache=False)"
            )
        return Past(make(ScopedMaker("growing", where="cache"), "cache"))

    def _taught(self, batch: Batch, labels: Tensor, items: Tensor | int | None) -> tuple[Tensor, Tensor]:
        held: list[Tensor] = []

        def objective(hidden: Tensor, head: Callable[[Tensor], Tensor], _: Batch) -> Terms:
            held.append(head(hidden))
            return Terms()

        terms = self.model(batch, objective)
        loss = self.loss_function(logits=held[0], labels=labels, vocab_size=self.config.vocab_size, num_items_in_batch=items)
        share = 1.0 if items is None else (labels[:, 1:] != -100).sum() / items
        for name, (value, weight) in terms.losses.items():
            loss = loss + terms.aim.get(name, 1.0) * share * value / weight.clamp(min=1e-9)
        return held[0], loss

    def _init_weights(self, module: nn.Module) -> None:
        """Called of every module after weights were read; those that were read stay. A model that is made anew has drawn its weights already."""
        if module is not self.model:
            return
        state = module.state_dict(keep_vars=True)
        read = {n: t.detach().clone() for n, t in state.items() if vars(t).get("_is_hf_initialized", False)}
        beside = any(m._non_persistent_buffers_set for m in module.modules())
        if read and (beside or len(read) < len(state)):
            initialise(module, init_of(module), 0)
            module.load_state_dict(read, strict=False)

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:  # noqa: ARG002  there is one model
        """{name: its first name} of every parameter that has several."""
        first: dict[int, str] = {}
        named = self.named_parameters(remove_duplicate=False)
        return {name: first[id(p)] for name, p in named if first.setdefault(id(p), name) != name}

    def get_input_embeddings(self) -> nn.Module:
        return self.model.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:  # noqa: ARG002  its name in the base
        raise ValueError("embedding and head of a composed model are made for its vocabulary: train another recipe")

    def resize_token_embeddings(self, *_: object, **__: object) -> nn.Embedding:
        raise ValueError("embedding and head of a composed model are made for its vocabulary: train another recipe")

    def gradient_checkpointing_enable(self, *_: object, **__: object) -> None:
        self._recompute(True)

    def gradient_checkpointing_disable(self) -> None:
        self._recompute(False)

    def _recompute(self, on: bool) -> None:
        for module in self.model.modules():
            if isinstance(module, Layer):
                module.checkpointing = on

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # generate leaves it to ``forward`` to make the first cache


UNREAD = {"inputs_embeds", "output_hidden_states", "output_attentions"}

AutoConfig.register(MODEL_TYPE, ComponentsConfig, exist_ok=True)
AutoModelForCausalLM.register(ComponentsConfig, ComponentsForCausalLM, exist_ok=True)
