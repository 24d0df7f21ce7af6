"""The row of minimax_m2.py."""

from __future__ import annotations

from oracles_moe import corrected
from parity import TOKENS, WIDE, Oracle

ORACLES = [
    Oracle(
        "MiniMax-M2",
        "MiniMaxM2ForCausalLM",
        ("MiniMaxM2Config", {**WIDE, **TOKENS, "rotary_dim": 8, "num_local_experts": 6, "num_experts_per_tok": 3}),
        prepare=corrected,
        recipes=("known/minimax_m2",),
    ),
]
