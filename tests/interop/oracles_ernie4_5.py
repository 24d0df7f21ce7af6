"""The row of ernie4_5.py."""

from __future__ import annotations

from parity import TOKENS, WIDE, Oracle

ORACLES = [
    Oracle(
        "ERNIE 4.5",
        "Ernie4_5ForCausalLM",
        ("Ernie4_5Config", {**WIDE, **TOKENS, "use_bias": True}),
        recipes=("known/ernie4_5_0_3b",),
    ),
]
