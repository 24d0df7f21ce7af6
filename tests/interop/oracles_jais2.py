"""The row of jais2.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, Oracle

ORACLES = [
    Oracle("Jais 2", "Jais2ForCausalLM", ("Jais2Config", {**GROUPED, **TOKENS}), recipes=("known/jais_2_8b",)),
]
