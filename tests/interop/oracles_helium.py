"""The row of helium.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, Oracle

ORACLES = [
    Oracle(
        "Helium", "HeliumForCausalLM", ("HeliumConfig", {**GROUPED, **TOKENS, "head_dim": 12}), recipes=("known/helium_1_2b",)
    ),
]
