"""The rows of qwen3_5.py."""

from __future__ import annotations

from parity import TOKENS, WIDE, Oracle

HYBRID = {
    **WIDE,
    **TOKENS,
    "num_hidden_layers": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 6,
}

ORACLES = [
    Oracle("Qwen3.5", "Qwen3_5ForCausalLM", ("Qwen3_5TextConfig", HYBRID)),
    Oracle(
        "Qwen3.5-MoE",
        "Qwen3_5MoeForCausalLM",
        (
            "Qwen3_5MoeTextConfig",
            {
                **{n: v for n, v in HYBRID.items() if n != "intermediate_size"},
                "num_experts": 8,
                "num_experts_per_tok": 3,
                "moe_intermediate_size": 12,
                "shared_expert_intermediate_size": 20,
            },
        ),
    ),
]
