"""The row of dots1.py."""

from __future__ import annotations

from oracles_moe import GROUPED, corrected
from parity import TOKENS, WIDE, Oracle

ORACLES = [
    Oracle(
        "dots.llm1",
        "Dots1ForCausalLM",
        (
            "Dots1Config",
            {**WIDE, **TOKENS, **GROUPED},
        ),
        prepare=corrected,
        recipes=("known/dots1",),
    ),
]
