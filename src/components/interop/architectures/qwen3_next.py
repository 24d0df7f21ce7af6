"""Qwen3-Next (Qwen 2025): Gated DeltaNet in three layers of four, gated attention in the fourth, a gated shared expert.

Queries and the gate of what was read stand head by head in one matrix; queries, keys, values and z of the DeltaNet group by
group of keys in another. The hub's tensors of the module that predicts more tokens (``mtp.``) are dropped, as by the class.
"""

from __future__ import annotations

from typing import Any

from components.interop.architecture import Architecture, Rule
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
from components.interop.architectures._moe import (
    DENSE_GLU,
    EMBEDDED,
    FREE,
    MOE,
    attention_fields,
    count,
    experts,
    shared,
    sparse_step,
)
from components.interop.fields import Constant, Custom, Fields, Get, Options, Same, Theirs, Unsupported, value_of
from components.interop.layouts import Chunks, Convolutions

NET, KINDS = "gated_delta_net", ("linear_attention", "full_attention")
SIZES = {  # theirs: (ours, of the class)
    "linear_num_key_heads": ("n_heads", 16),
    "linear_num_value_heads": ("n_v_heads", 32),
    "linear_key_head_dim": ("head_dim", 128),
    "linear_value_head_dim": ("head_v_dim", 128),
    "linear_conv_kernel_dim": ("conv_size", 4),
}


def _read_layers(config: Theirs) -> Options:
    n_layers, every = config["num_hidden_layers"], config.get("full_attention_interval") or 4
    types = config.get("layer_types") or [KINDS[(i + 1) % every == 0] for i in range(n_layers)]
    if unknown := sorted(set(types) - set(KINDS)):
        raise Unsupported(f"layer_types: {', '.join(unknown)} is not known, there are {', '.join(KINDS)}")
    sizes = {ours: value_of(config, theirs, default) for theirs, (ours, default) in SIZES.items()}
    norm = {"name": "rms", "eps": value_of(config, "rms_norm_eps", 1e-6)}
    node = {"name": NET, **sizes, "position": "none", "output_norm": norm}
    return in_layers([i for i, t in enumerate(types) if t == KINDS[0]], n_layers, "attention", node)


def _write_layers(get: Get) -> Fields:
    linear = layers_of(get, "attention", NET)
    sizes = {theirs: option(get, "attention", NET, ours, default) for theirs, (ours, default) in SIZES.items()}
    return {**sizes, "layer_types": [KINDS[i not in linear] for i in range(get("model.n_layers"))]}


def _read_rope(config: Theirs) -> Options:
    return read_rope({"partial_rotary_factor": 0.25, **flat_rope(config, 10000.0)})


def _groups(get: Get) -> Chunks:
    return Chunks(option(get, "attention", NET, "n_heads", 1))


def _linear(theirs: str, ours: str, *form: Any) -> Rule:
    """Of a DeltaNet. Several of theirs for as many of ours hold where all are there: so its ``out`` is told from attention's."""
    names = tuple(stack(f"attention.{n}") for n in ours.split())
    return Rule(tuple(f"model.layers.{{i}}.linear_attn.{n}" for n in theirs.split()), names, *form)


ARCHITECTURE = Architecture(
    names=("Qwen3NextForCausalLM",),
    model_type="qwen3_next",
    base={
        "model": {
            "name": "decoder",
            "position": {"name": "rope", "layout": "half"},
            "norm": {"name": "rms", "unit_offset": True},
            "block": "pre_norm",
            "attention": {"name": "gqa", "gate": "elementwise", "qk_norm": {"name": "rms", "unit_offset": True}},
            "ffn": {**MOE, "router": "softmax_top_k", "shared": {"name": "glu", "activation": "silu"}, "shared_gate": True},
        }
    },
    fields=(
        *(f for f in decoder_sizes() if f.names != ("intermediate_size",)),
        *(f for f in attention_fields(2) if f.names != ("attention_bias",)),
        Constant("attention_bias", False),
        Same("head_dim", "model.attention.head_dim", 256),
        Custom(ROPE_FIELDS, _read_rope, rope().write),
        Custom(("layer_types", "full_attention_interval", *SIZES), _read_layers, _write_layers),
        count("num_experts", "num_local_experts"),
        Same("num_experts_per_tok", "model.ffn.router.k", 10),
        Same("norm_topk_prob", "model.ffn.router.renormalise", True),
        Same("moe_intermediate_size", "model.ffn.d_ff"),
        Same("shared_expert_intermediate_size", "model.ffn.shared.d_ff"),
        sparse_step(),
        Same("rms_norm_eps", "model.norm.eps", 1e-6),
        Same("rms_norm_eps", "model.attention.qk_norm.eps", 1e-6),
        TIED,
    ),
    tensors=(
        *EMBEDDED,
        Rule(
            "model.layers.{i}.self_attn.q_proj.weight",
            (stack("attention.q.weight"), stack("attention.gate.gates.weight")),
            lambda get: Chunks(get("model.attention.n_heads")),
        ),
        _linear("in_proj_qkvz.weight", "q.weight k.weight v.weight z.weight", _groups),
        _linear("in_proj_ba.weight", "b.weight a.weight", _groups),
        _linear("conv1d.weight", "q_conv.taps k_conv.taps v_conv.taps", Convolutions()),
        _linear("A_log dt_bias norm.weight out_proj.weight", "A_log dt_bias output_norm.weight out.weight"),
        *ATTENTION,
        *QK_NORMS,
        *experts(),
        *shared("shared_expert"),
        *DENSE_GLU,
        Rule("model.layers.{i}.mlp.shared_expert_gate.weight", stack("ffn.shared_gate.weight")),
        Rule("model.layers.{i}.mlp.gate.weight", stack("ffn.router.logits.weight")),
    ),
    free=FREE,
    prefix="model.",
    copies={"lm_head.weight": "model.embed_tokens.weight"},
    ignored=("mtp.*",),
)
