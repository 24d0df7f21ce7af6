"""The row of olmoe.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, Oracle

ORACLES = [
    Oracle(
        "OLMoE",
        "OlmoeForCausalLM",
        ("OlmoeConfig", {**GROUPED, **TOKENS, "num_experts": 6, "num_experts_per_tok": 2, "clip_qkv": 1.0}),
        recipes=("known/olmoe_1b_7b",),
    ),
]
