"""Mixtures of experts and hybrids."""

from __future__ import annotations

from parity import Oracle

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
ORACLES = [
    Oracle(
        "Mixtral",
        "MixtralForCausalLM",
        ("MixtralConfig", {**SMALL, "num_local_experts": 4, "sliding_window": 10}),
        recipes=("known/mixtral_8x7b", "known/mixtral_8x22b"),
        window=10,
    ),
    Oracle(
        "Qwen3-MoE",
        "Qwen3MoeForCausalLM",
        (
            "Qwen3MoeConfig",
            {
                **SMALL,
                "head_dim": 16,
                "num_experts": 8,
                "num_experts_per_tok": 3,
                "moe_intermediate_size": 24,
                "norm_topk_prob": True,
                "mlp_only_layers": [1],
            },
        ),
        recipes=("known/qwen3_30b_a3b",),
    ),
]
