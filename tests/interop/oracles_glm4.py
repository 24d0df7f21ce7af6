"""The row of glm4.py."""

from __future__ import annotations

from parity import TOKENS, WIDE, Oracle

ORACLES = [
    Oracle("GLM-4-0414", "Glm4ForCausalLM", ("Glm4Config", {**WIDE, **TOKENS}), recipes=("known/glm_4_9b_0414",)),
]
