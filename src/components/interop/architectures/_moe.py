"""What mixtures of experts share: names of experts' matrices, dense layers among them, a window on some layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from components.interop.architecture import Rule
from components.interop.architectures._common import stack
from components.interop.architectures._layers import each_layer, in_layers, layers_of, option
from components.interop.fields import Computed, Get, Only, Same, Theirs, Unsupported, Word, value_of
from components.interop.forms import Experts

# the losses that a router's training adds, and the noise it gets, are training's own: no model here has them unless asked
FREE = frozenset(("output_router_logits", "router_aux_loss_coef", "router_jitter_noise"))
MOE = {"name": "moe", "expert": "glu", "activation": "silu", "load_balance": 0.0}
EMBEDDED = (
    Rule("model.embed_tokens.weight", "embedding.table.weight"),
    Rule("model.layers.{i}.input_layernorm.weight", stack("attention_norm.weight")),
    Rule("model.layers.{i}.post_attention_layernorm.weight", stack("ffn_norm.weight")),
    Rule("model.norm.weight", "stack.final_norm.weight"),
    Rule("lm_head.weight", "head.logits.weight"),
)
QK_NORMS = tuple(Rule(f"model.layers.{{i}}.self_attn.{n}.weight", stack(f"attention.{n}.weight")) for n in ("q_norm", "k_norm"))
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


def count(*names: str) -> Computed:
    """How many experts there are, under any of these names; the first is written."""

    def read(config: Theirs) -> dict[str, Any]:
        name = next((n for n in names if n in config), names[0])
        return {"model.ffn.n_experts": value_of(config, name)}

    return Computed(names, read, lambda get: {names[0]: get("model.ffn.n_experts")})


def attention_fields(*, bias: bool = False) -> tuple[Same | Word, ...]:
    return (
        Same("num_key_value_heads", "model.attention.n_kv_heads", None),
        Word("attention_bias", "model.attention.bias", {False: [], True: ["q", "k", "v", "out"]}, bias),
        Same("attention_dropout", "model.attention.dropout", 0.0),
        Only("hidden_act", "silu"),
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


def sparse_step() -> Computed:
    """Qwen's choice of layers without experts: a list, and every so many layers."""

    def read(config: Theirs) -> dict[str, Any]:
        listed, step = config.get("mlp_only_layers") or [], config.get("decoder_sparse_step", 1)
        layers = (i for i in range(config["num_hidden_layers"]) if i in listed or (i + 1) % step)
        return dense_layers(config, layers, "intermediate_size")

    def write(get: Get) -> dict[str, Any]:
        width = option(get, "ffn", "glu", "d_ff", get("model.ffn.d_ff"))
        return {"mlp_only_layers": layers_of(get, "ffn", "glu"), "decoder_sparse_step": 1, "intermediate_size": width}

    return Computed(("mlp_only_layers", "decoder_sparse_step", "intermediate_size"), read, write)


def windowed(kinds: tuple[str, str] = ("sliding_attention", "full_attention")) -> Computed:
    """``layer_types``: in some layers only so many positions are seen. Without the field every second layer is full, the second first."""

    def read(config: Theirs) -> dict[str, Any]:
        n_layers = config["num_hidden_layers"]
        types = config.get("layer_types") or [kinds[i % 2] for i in range(n_layers)]
        if unknown := sorted(set(types) - set(kinds)):
            raise Unsupported(f"layer_types: {', '.join(unknown)} is not known, there are {', '.join(kinds)}")
        mask = {"name": "sliding_window", "window": value_of(config, "sliding_window")}
        return in_layers([i for i, t in enumerate(types) if t == kinds[0]], n_layers, "attention", {"mask": mask})

    def write(get: Get) -> dict[str, Any]:
        masks = [node.get("mask") or {} for node in each_layer(get, "attention")]
        windows = [m.get("window") if isinstance(m, dict) else None for m in masks]
        wide = next((w for w in windows if w is not None), None)
        return {"layer_types": [kinds[w is None] for w in windows], "sliding_window": wide}

    return Computed(("layer_types", "sliding_window"), read, write)
