"""gpt-oss (OpenAI 2025, arXiv:2508.10925): sinks, a window on every second layer, clamped experts, YaRN unrounded.

The published checkpoints keep experts in 4 bits (``_blocks`` and ``_scales``), which are dequantised on the way in.
"""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, ROPE_FIELDS, TIED, decoder_sizes, rope, stack
from components.interop.architectures._moe import EMBEDDED, FREE, attention_fields, count
from components.interop.architectures._windows import by_layer, every
from components.interop.fields import Custom, Options, Same, Theirs, Unsupported
from components.interop.layouts import FusedExperts

ROPE = rope(150000.0, partial=False)


def _read_rope(config: Theirs) -> Options:
    if not (config.get("rope_parameters") or config.get("rope_scaling")):
        raise Unsupported("neither rope_parameters nor rope_scaling is there, and its class would scale positions")
    return ROPE.read(config)


_EXPERTS = "model.layers.{i}.mlp.experts."
ARCHITECTURE = Architecture(
    names=("GptOssForCausalLM",),
    model_type="gpt_oss",
    base={
        "model": {
            "name": "decoder",
            "position": {"name": "rope", "layout": "half"},
            "norm": "rms",
            "block": "pre_norm",
            "attention": {"name": "gqa", "sinks": True},
            "ffn": {
                "name": "moe",
                "expert": "clamped_glu",
                "bias": True,
                "load_balance": 0.0,
                "router": {"name": "top_k_softmax", "bias": True},
            },
        }
    },
    fields=(
        *(f for f in decoder_sizes() if f.names != ("intermediate_size",)),
        Same("intermediate_size", "model.ffn.d_ff"),
        *attention_fields(8, bias=True),
        Same("head_dim", "model.attention.head_dim", 64),
        Custom(ROPE_FIELDS, _read_rope, ROPE.write),
        by_layer(every(2), 128),
        count("num_local_experts", "num_experts"),
        Same("num_experts_per_tok", "model.ffn.router.k", 4),
        Same("swiglu_limit", "model.ffn.limit", 7.0),
        Same("swiglu_alpha", "model.ffn.slope", 1.702),
        Same("rms_norm_eps", "model.norm.eps", 1e-5),
        TIED,
    ),
    tensors=(
        *EMBEDDED,
        *ATTENTION,
        Rule("model.layers.{i}.self_attn.sinks", stack("attention.sink")),
        Rule(f"{_EXPERTS}gate_up_proj", (stack("ffn.gate.weight"), stack("ffn.up.weight")), FusedExperts(alternating=True)),
        Rule(
            f"{_EXPERTS}gate_up_proj_bias",
            (stack("ffn.gate_bias.bias"), stack("ffn.up_bias.bias")),
            FusedExperts(alternating=True),
        ),
        Rule(f"{_EXPERTS}down_proj", stack("ffn.out.weight")),
        Rule(f"{_EXPERTS}down_proj_bias", stack("ffn.out_bias.bias")),
        Rule("model.layers.{i}.mlp.router.{p}", stack("ffn.router.logits.{p}")),
    ),
    free=FREE | {"initial_context_length", "experts_per_token"},
    prefix="model.",
)
