"""The row of qwen2_moe.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, Oracle

ORACLES = [
    Oracle(
        "Qwen2-MoE",
        "Qwen2MoeForCausalLM",
        (
            "Qwen2MoeConfig",
            {
                **GROUPED,
                **TOKENS,
                "num_experts": 6,
                "num_experts_per_tok": 3,
                "moe_intermediate_size": 24,
                "shared_expert_intermediate_size": 40,
                "mlp_only_layers": [1],
            },
        ),
        recipes=("known/qwen1_5_moe_a2_7b",),
    ),
]
