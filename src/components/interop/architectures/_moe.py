"""What mixtures of experts share: names of experts' matrices, dense layers among them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from components.interop.architecture import Rule
from components.interop.architectures._common import stack
from components.interop.architectures._layers import in_layers, layers_of, option
from components.interop.architectures._llama import ENDS, NORMS
from components.interop.fields import Constant, Custom, Field, Fields, Get, Mapped, Options, Same, Theirs, Unsupported, value_of
from components.interop.layouts import Experts

# the losses that a router's training adds, and the noise it gets, are training's own: no model here has them unless asked
FREE = frozenset(("output_router_logits", "router_aux_loss_coef", "router_jitter_noise"))
MOE = {"name": "moe", "expert": "glu", "activation": "silu", "load_balance": 0.0}
EMBEDDED = (*ENDS, *NORMS)
PROJECTIONS = (("gate_proj", "gate"), ("up_proj", "up"), ("down_proj", "out"))
DENSE_GLU = tuple(
    Rule(f"model.layers.{{i}}.mlp.{theirs}.{{p}}", stack(f"ffn.{ours}.{{p}}"), dims=2) for theirs, ours in PROJECTIONS
)


def experts(names: Iterable[tuple[str, str]] = PROJECTIONS, where: str = "mlp.experts.{e}") -> tuple[Rule, ...]:
    """Each expert's matrices under names of their own."""
    return tuple(
        Rule(f"model.layers.{{i}}.{where}.{theirs}.weight", stack(f"ffn.{ours}.weight"), Experts(), dims=3)
        for theirs, ours in names
    )


def shared(name: str, where: str = "mlp") -> tuple[Rule, ...]:
    """The expert that every token passes through."""
    return tuple(
        Rule(f"model.layers.{{i}}.{where}.{name}.{theirs}.weight", stack(f"ffn.shared.{ours}.weight"))
        for theirs, ours in PROJECTIONS
    )


def count(*names: str) -> Custom:
    """How many experts there are, under any of these names; the first is written."""

    def read(config: Theirs) -> Options:
        name = next((n for n in names if n in config), names[0])
        return {"model.ffn.n_experts": value_of(config, name)}

    return Custom(names, read, lambda get: {names[0]: get("model.ffn.n_experts")})


def attention_fields(kv_heads: int | None, *, bias: bool = False) -> tuple[Field, ...]:
    """``kv_heads``, ``bias``: the class's own where nothing is said."""
    return (
        Same("num_key_value_heads", "model.attention.n_kv_heads", kv_heads),
        Mapped("attention_bias", "model.attention.bias", {False: [], True: ["q", "k", "v", "out"]}, bias),
        Same("attention_dropout", "model.attention.dropout", 0.0),
        Constant("hidden_act", "silu"),
    )


def dense_layers(config: Theirs, layers: Iterable[int], width: str, **more: Any) -> dict[str, Any]:
    """Options that give these layers a plain GLU as wide as the field ``width`` says."""
    dense = list(layers)
    if len(dense) == config["num_hidden_layers"]:
        raise Unsupported("no layer has experts: that is a dense model's class")
    if not dense:
        return {}
    node = {"name": "glu", "activation": "silu", "d_ff": value_of(config, width), **more}
    return in_layers(dense, config["num_hidden_layers"], "ffn", node)


def dense_first(theirs: str, default: int) -> Custom:
    """How many layers from the first on are dense, as wide as ``intermediate_size`` says."""

    def read(config: Theirs) -> Options:
        first = value_of(config, theirs, default)
        return dense_layers(config, range(min(first, config["num_hidden_layers"])), "intermediate_size")

    def write(get: Get) -> Fields:
        dense = layers_of(get, "ffn", "glu")
        if dense != list(range(len(dense))):
            raise Unsupported(f"layers {dense} are dense: only the first ones can be")
        return {theirs: len(dense), "intermediate_size": option(get, "ffn", "glu", "d_ff", get("model.ffn.d_ff"))}

    return Custom((theirs, "intermediate_size"), read, write)


def dense_by_type(first: int) -> Custom:
    """A list that says of each layer whether it is dense; without it the first ones are, ``first`` of them where nothing is said."""
    kinds = ("dense", "sparse")

    def read(config: Theirs) -> Options:
        count = config.get("first_k_dense_replace", first)
        types = config.get("mlp_layer_types") or [kinds[i >= count] for i in range(config["num_hidden_layers"])]
        if unknown := sorted(set(types) - set(kinds)):
            raise Unsupported(f"mlp_layer_types: {', '.join(unknown)} is not known, there are {', '.join(kinds)}")
        return dense_layers(config, (i for i, t in enumerate(types) if t == kinds[0]), "intermediate_size")

    def write(get: Get) -> Fields:
        dense = layers_of(get, "ffn", "glu")
        width = option(get, "ffn", "glu", "d_ff", get("model.ffn.d_ff"))
        return {"mlp_layer_types": [kinds[i not in dense] for i in range(get("model.n_layers"))], "intermediate_size": width}

    return Custom(("mlp_layer_types", "first_k_dense_replace", "intermediate_size"), read, write)


def sparse_step() -> Custom:
    """Qwen's choice of layers without experts: a list, and every so many layers."""

    def read(config: Theirs) -> Options:
        listed, step = config.get("mlp_only_layers") or [], config.get("decoder_sparse_step", 1)
        layers = (i for i in range(config["num_hidden_layers"]) if i in listed or (i + 1) % step)
        return dense_layers(config, layers, "intermediate_size")

    def write(get: Get) -> Fields:
        width = option(get, "ffn", "glu", "d_ff", get("model.ffn.d_ff"))
        return {"mlp_only_layers": layers_of(get, "ffn", "glu"), "decoder_sparse_step": 1, "intermediate_size": width}

    return Custom(("mlp_only_layers", "decoder_sparse_step", "intermediate_size"), read, write)
