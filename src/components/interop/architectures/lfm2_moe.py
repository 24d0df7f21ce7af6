"""LFM2 with experts (Liquid AI 2025, arXiv:2511.23404): a sigmoid router whose choice alone is corrected; the first layers are dense."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import stack
from components.interop.architectures._lfm2 import BASE, FIELDS, FREE, GLU, TENSORS
from components.interop.architectures._llama import FILES
from components.interop.architectures._moe import FREE as MOE_FREE
from components.interop.architectures._moe import MOE, dense_first, experts
from components.interop.fields import Same

ARCHITECTURE = Architecture(
    names=("Lfm2MoeForCausalLM",),
    model_type="lfm2_moe",
    base={"model": {**BASE, "ffn": {**MOE, "router": {"name": "sigmoid_top_k", "rate": 0.0}}}},
    fields=(
        *FIELDS,
        Same("num_experts", "model.ffn.n_experts", 32),
        Same("num_experts_per_tok", "model.ffn.router.k", 4),
        Same("moe_intermediate_size", "model.ffn.d_ff", 1792),
        Same("norm_topk_prob", "model.ffn.router.renormalise", True),
        Same("routed_scaling_factor", "model.ffn.routed_scale", 1.0),
        Same("use_expert_bias", "model.ffn.router.corrected", True),
        dense_first("num_dense_layers", 2),
    ),
    tensors=(
        *TENSORS,
        *(
            Rule(f"model.layers.{{i}}.feed_forward.{theirs}.weight", stack(f"ffn.{ours}.weight"), dims=2)
            for theirs, ours in GLU
        ),
        *experts(GLU, "feed_forward.experts.{e}"),
        Rule("model.layers.{i}.feed_forward.gate.weight", stack("ffn.router.logits.weight")),
        Rule("model.layers.{i}.feed_forward.expert_bias", stack("ffn.router.correction")),
    ),
    free=FREE | MOE_FREE,
    **FILES,
)
