"""The row of flex_olmo.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, Oracle

ORACLES = [
    Oracle(
        "FlexOlmo",
        "FlexOlmoForCausalLM",
        ("FlexOlmoConfig", {**GROUPED, **TOKENS, "num_experts": 6, "num_experts_per_tok": 3}),
        recipes=("known/flex_olmo_7x7b",),
    ),
]
