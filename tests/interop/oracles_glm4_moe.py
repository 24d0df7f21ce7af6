"""The row of glm4_moe.py."""

from __future__ import annotations

from oracles_moe import GROUPED, corrected
from parity import TOKENS, WIDE, Oracle

ORACLES = [
    Oracle(
        "GLM-4.5",
        "Glm4MoeForCausalLM",
        (
            "Glm4MoeConfig",
            {**WIDE, **TOKENS, **GROUPED, "use_qk_norm": True, "attention_bias": True},
        ),
        prepare=corrected,
        recipes=("known/glm_4_5_air",),
    ),
]
