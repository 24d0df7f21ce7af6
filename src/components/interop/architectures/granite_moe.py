"""Granite 3's mixtures of experts (IBM 2024): Granite's multipliers, softmax over the chosen experts alone."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, HEAD_DIM, TIED, decoder_sizes, rope, stack
from components.interop.architectures._moe import EMBEDDED, FREE, MOE, attention_fields, count
from components.interop.architectures.granite import MULTIPLIERS
from components.interop.fields import Same
from components.interop.layouts import FusedExperts

FUSED = FusedExperts(transposed=True)
EXPERTS = (
    Rule(
        "model.layers.{i}.block_sparse_moe.input_linear.weight",
        (stack("ffn.gate.weight"), stack("ffn.up.weight")),
        FUSED,
        dims=3,
    ),
    Rule("model.layers.{i}.block_sparse_moe.output_linear.weight", stack("ffn.out.weight"), FUSED, dims=3),
    Rule("model.layers.{i}.block_sparse_moe.router.layer.weight", stack("ffn.router.logits.weight")),
)
NODE = {**MOE, "router": "top_k_softmax"}
FIELDS = (
    *decoder_sizes(),
    *attention_fields(None),
    HEAD_DIM,
    *MULTIPLIERS,
    count("num_local_experts"),
    Same("num_experts_per_tok", "model.ffn.router.k", 2),
    Same("rms_norm_eps", "model.norm.eps", 1e-6),
    TIED,
)
ARCHITECTURE = Architecture(
    names=("GraniteMoeForCausalLM",),
    model_type="granitemoe",
    base={
        "model": {
            "name": "decoder",
            "position": {"name": "rope", "layout": "half"},
            "norm": "rms",
            "block": "pre_norm",
            "attention": "gqa",
            "residual": "scaled",
            "ffn": NODE,
        }
    },
    fields=(*FIELDS, rope(partial=False)),
    tensors=(*EMBEDDED, *ATTENTION, *EXPERTS),
    free=FREE,
    prefix="model.",
    copies={"lm_head.weight": "model.embed_tokens.weight"},
)
