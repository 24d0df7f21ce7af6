"""The row of glm.py."""

from __future__ import annotations

from parity import TOKENS, WIDE, Oracle

ORACLES = [
    Oracle("GLM-4", "GlmForCausalLM", ("GlmConfig", {**WIDE, **TOKENS}), recipes=("known/glm_4_9b",)),
]
