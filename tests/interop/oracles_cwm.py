"""The row of cwm.py."""

from __future__ import annotations

from parity import TOKENS, WIDE, Oracle

ORACLES = [
    Oracle(
        "Code World Model",
        "CwmForCausalLM",
        ("CwmConfig", {**WIDE, **TOKENS, "num_hidden_layers": 4, "sliding_window": 7}),
        window=7,
        recipes=("known/cwm_32b",),
    ),
]
