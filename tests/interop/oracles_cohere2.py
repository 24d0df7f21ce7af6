"""The row of cohere2.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, Oracle

ORACLES = [
    Oracle(
        "Command R7B",
        "Cohere2ForCausalLM",
        ("Cohere2Config", {**GROUPED, **TOKENS, "num_hidden_layers": 4, "sliding_window": 7}),
        window=7,
        recipes=("known/command_r7b",),
    ),
]
