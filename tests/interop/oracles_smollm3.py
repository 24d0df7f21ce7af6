"""The row of smollm3.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, Oracle

ORACLES = [
    Oracle(
        "SmolLM3",
        "SmolLM3ForCausalLM",
        ("SmolLM3Config", {**GROUPED, **TOKENS, "num_hidden_layers": 4}),
        recipes=("known/smollm3_3b",),
    ),
]
