"""The row of starcoder2.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, Oracle

ORACLES = [
    Oracle(
        "StarCoder2",
        "Starcoder2ForCausalLM",
        ("Starcoder2Config", {**GROUPED, **TOKENS, "sliding_window": 7}),
        window=7,
        recipes=("known/starcoder2_3b",),
    ),
    Oracle(
        "StarCoder2 without biases",
        "Starcoder2ForCausalLM",
        ("Starcoder2Config", {**GROUPED, **TOKENS, "use_bias": False, "tie_word_embeddings": False}),
    ),
]
