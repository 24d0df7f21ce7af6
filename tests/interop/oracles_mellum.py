"""The row of mellum.py."""

from __future__ import annotations

from parity import TOKENS, WIDE, Oracle

ORACLES = [
    Oracle(
        "Mellum 2",
        "MellumForCausalLM",
        (
            "MellumConfig",
            {
                **WIDE,
                **TOKENS,
                "sliding_window": 7,
                "num_experts": 6,
                "num_experts_per_tok": 3,
                "moe_intermediate_size": 24,
                "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
                "mlp_layer_types": ["dense", "sparse", "sparse"],
            },
        ),
        window=7,
        recipes=("known/mellum2",),
    ),
]
