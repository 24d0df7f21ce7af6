"""The row of glm4_moe.py."""

from __future__ import annotations

from oracles_moe import corrected
from parity import TOKENS, WIDE, Oracle

ORACLES = [
    Oracle(
        "GLM-4.5",
        "Glm4MoeForCausalLM",
        (
            "Glm4MoeConfig",
            {
                **WIDE,
                **TOKENS,
                "n_routed_experts": 8,
                "n_shared_experts": 2,
                "num_experts_per_tok": 3,
                "moe_intermediate_size": 12,
                "n_group": 4,
                "topk_group": 2,
                "first_k_dense_replace": 1,
                "routed_scaling_factor": 2.5,
                "norm_topk_prob": True,
                "use_qk_norm": True,
                "attention_bias": True,
            },
        ),
        prepare=corrected,
        recipes=("known/glm_4_5_air",),
    ),
]
