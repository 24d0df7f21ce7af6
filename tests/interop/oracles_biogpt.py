"""The row of biogpt.py."""

from __future__ import annotations

from parity import SMALL, TOKENS, Oracle

ORACLES = [
    Oracle(
        "BioGPT",
        "BioGptForCausalLM",
        ("BioGptConfig", {**SMALL, **TOKENS, "max_position_embeddings": 64}),
        recipes=("known/biogpt",),
    ),
]
