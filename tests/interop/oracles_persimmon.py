"""The row of persimmon.py."""

from __future__ import annotations

from parity import SMALL, TOKENS, Oracle

ORACLES = [
    Oracle(
        "Persimmon",
        "PersimmonForCausalLM",
        ("PersimmonConfig", {**SMALL, **TOKENS, "hidden_size": 64, "max_position_embeddings": 64}),
        recipes=("known/persimmon_8b",),
    ),
]
