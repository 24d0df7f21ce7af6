"""The row of dots1.py."""

from __future__ import annotations

from oracles_moe import corrected
from parity import TOKENS, WIDE, Oracle

ORACLES = [
    Oracle(
        "dots.llm1",
        "Dots1ForCausalLM",
        (
            "Dots1Config",
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
            },
        ),
        prepare=corrected,
        recipes=("known/dots1",),
    ),
]
