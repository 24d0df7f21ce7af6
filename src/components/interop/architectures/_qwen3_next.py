"""What Qwen3-Next and Qwen3.5 share: Gated DeltaNet in three layers of four, gated attention in the fourth, experts with a gated shared one."""

from __future__ import annotations

from collections.abc import Callable

from components.interop.architecture import SAME, Rule
from components.interop.architectures._common import (
    ATTENTION,
    ROPE_FIELDS,
    TIED,
    decoder_sizes,
    flat_rope,
    read_rope,
    rope,
    stack,
)
from components.interop.architectures._layers import in_layers, layers_of, option
from components.interop.architectures._llama import QK_NORMS
from components.interop.architectures._moe import EMBEDDED, MOE, attention_fields, count, experts, shared
from components.interop.fields import Constant, Custom, Field, Fields, Get, Options, Same, Theirs, Unsupported, value_of
from components.interop.layouts import Chunks, Convolutions, Layout

NET, KINDS = "gated_delta_net", ("linear_attention", "full_attention")
SIZES = {  # theirs: (ours, of the class)
    "linear_num_key_heads": ("n_heads", 16),
    "linear_num_value_heads": ("n_v_heads", 32),
    "linear_key_head_dim": ("head_dim", 128),
    "linear_value_head_dim": ("head_v_dim", 128),
    "linear_conv_kernel_dim": ("conv_size", 4),
}


def read_layers(config: Theirs) -> Options:
    n_layers, every = config["num_hidden_layers"], config.get("full_attention_interval") or 4
    types = config.get("layer_types") or [KINDS[(i + 1) % every == 0] for i in range(n_layers)]
    if unknown := sorted(set(types) - set(KINDS)):
        raise Unsupported(f"layer_types: {', '.join(unknown)} is not known, there are {', '.join(KINDS)}")
    sizes = {ours: value_of(config, theirs, default) for theirs, (ours, default) in SIZES.items()}
    norm = {"name": "rms", "eps": value_of(config, "rms_norm_eps", 1e-6)}
    node = {"name": NET, **sizes, "position": "none", "output_norm": norm}
    return in_layers([i for i, t in enumerate(types) if t == KINDS[0]], n_layers, "attention", node)


def write_layers(get: Get) -> Fields:
    linear = linear_layers(get)
    sizes = {theirs: option(get, "attention", NET, ours, default) for theirs, (ours, default) in SIZES.items()}
    return {**sizes, "layer_types": [KINDS[i not in linear] for i in range(get("model.n_layers"))]}


def read_rope_share(config: Theirs) -> Options:
    """A quarter of the channels turns. Positions of text are one number on all axes, so that how axes share the channels (mrope) says nothing."""
    rope_of = {n: v for n, v in flat_rope(config, 10000.0).items() if not n.startswith("mrope_")}
    return read_rope({"partial_rotary_factor": 0.25, **rope_of})


def linear_layers(get: Get) -> list[int]:
    return layers_of(get, "attention", NET)


def linear(theirs: str, ours: str, form: Layout | Callable[[Get], Layout] = SAME) -> Rule:
    """Of the layers that have a DeltaNet, whose projections are called as attention's."""
    names = tuple(stack(f"attention.{n}") for n in ours.split())
    return Rule(tuple(f"model.layers.{{i}}.linear_attn.{n}" for n in theirs.split()), names, form, layers=linear_layers)


MODEL = {
    "name": "decoder",
    "position": {"name": "rope", "layout": "half"},
    "norm": {"name": "rms", "unit_offset": True},
    "block": "pre_norm",
    "attention": {"name": "gqa", "gate": "elementwise", "qk_norm": {"name": "rms", "unit_offset": True}},
}
SPARSE = {
    **MODEL,
    "ffn": {**MOE, "router": "softmax_top_k", "shared": {"name": "glu", "activation": "silu"}, "shared_gate": True},
}


def fields(kv_heads: int) -> tuple[Field, ...]:
    """All but the feed-forward network's; ``kv_heads``: the class's own where nothing is said."""
    return (
        *(f for f in decoder_sizes() if f.names != ("intermediate_size",)),
        *(f for f in attention_fields(kv_heads) if f.names != ("attention_bias",)),
        Constant("attention_bias", False),
        Same("head_dim", "model.attention.head_dim", 256),
        Custom(ROPE_FIELDS, read_rope_share, rope().write),
        Custom(("layer_types", "full_attention_interval", *SIZES), read_layers, write_layers),
        Same("rms_norm_eps", ("model.norm.eps", "model.attention.qk_norm.eps"), 1e-6),
        TIED,
    )


def expert_fields(k: int) -> tuple[Field, ...]:
    return (
        count("num_experts", "num_local_experts"),
        Same("num_experts_per_tok", "model.ffn.router.k", k),
        Same("moe_intermediate_size", "model.ffn.d_ff"),
        Same("shared_expert_intermediate_size", "model.ffn.shared.d_ff"),
    )


TENSORS = (
    *EMBEDDED,
    Rule(
        "model.layers.{i}.self_attn.q_proj.weight",
        (stack("attention.q.weight"), stack("attention.gate.gates.weight")),
        lambda get: Chunks(get("model.attention.n_heads")),
    ),
    linear("conv1d.weight", "q_conv.taps k_conv.taps v_conv.taps", Convolutions()),
    linear("A_log dt_bias norm.weight out_proj.weight", "A_log dt_bias output_norm.weight out.weight"),
    *ATTENTION,
    *QK_NORMS,
)
EXPERTS = (
    *experts(),
    *shared("shared_expert"),
    Rule("model.layers.{i}.mlp.shared_expert_gate.weight", stack("ffn.shared_gate.weight")),
    Rule("model.layers.{i}.mlp.gate.weight", stack("ffn.router.logits.weight")),
)
