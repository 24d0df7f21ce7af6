"""The row of ministral.py."""

from __future__ import annotations

from parity import WIDE, Oracle

ORACLES = [
    Oracle(
        "Ministral",
        "MinistralForCausalLM",
        (
            "MinistralConfig",
            {**WIDE, "sliding_window": 7, "layer_types": ["full_attention", "sliding_attention", "sliding_attention"]},
        ),
        window=7,
        recipes=("known/ministral_8b",),
    ),
]
