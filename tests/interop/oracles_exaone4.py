"""The row of exaone4.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, Oracle

ORACLES = [
    Oracle(
        "EXAONE 4",
        "Exaone4ForCausalLM",
        ("Exaone4Config", {**GROUPED, **TOKENS, "num_hidden_layers": 4, "sliding_window": 7}),
        window=7,
        recipes=("known/exaone4_32b",),
    ),
    Oracle(
        "EXAONE 4 without windows",
        "Exaone4ForCausalLM",
        ("Exaone4Config", {**GROUPED, **TOKENS, "sliding_window": None, "layer_types": ["full_attention"] * 3}),
    ),
]
