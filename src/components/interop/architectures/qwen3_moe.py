"""Qwen3-MoE (Yang et al. 2025, arXiv:2505.09388): Qwen3's attention, and experts without a shared one among them.

Its class takes the number of experts as ``num_experts`` and saves it as ``num_local_experts``.
"""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, HEAD_DIM, TIED, decoder_sizes, rope, stack
from components.interop.architectures._llama import QK_NORMS
from components.interop.architectures._moe import (
    DENSE_GLU,
    EMBEDDED,
    FREE,
    MOE,
    attention_fields,
    count,
    experts,
    sparse_step,
)
from components.interop.fields import Constant, Same

ARCHITECTURE = Architecture(
    names=("Qwen3MoeForCausalLM",),
    model_type="qwen3_moe",
    base={
        "model": {
            "name": "decoder",
            "position": {"name": "rope", "layout": "half"},
            "norm": "rms",
            "block": "pre_norm",
            "attention": {"name": "gqa", "qk_norm": "rms"},
            "ffn": {**MOE, "router": "softmax_top_k"},
        }
    },
    fields=(
        *(f for f in decoder_sizes() if f.names != ("intermediate_size",)),
        *attention_fields(4),
        HEAD_DIM,
        rope(partial=False),
        count("num_experts", "num_local_experts"),
        Same("num_experts_per_tok", "model.ffn.router.k", 8),
        Same("norm_topk_prob", "model.ffn.router.renormalise", False),
        Same("moe_intermediate_size", "model.ffn.d_ff"),
        sparse_step(),
        Same("rms_norm_eps", "model.norm.eps", 1e-6),
        Same("rms_norm_eps", "model.attention.qk_norm.eps", 1e-6),
        Constant("use_sliding_window", False),
        TIED,
    ),
    tensors=(
        *EMBEDDED,
        *ATTENTION,
        *QK_NORMS,
        *experts(),
        *DENSE_GLU,
        Rule("model.layers.{i}.mlp.gate.weight", stack("ffn.router.logits.weight")),
    ),
    free=FREE | {"sliding_window", "max_window_layers"},
    prefix="model.",
    copies={"lm_head.weight": "model.embed_tokens.weight"},
)
