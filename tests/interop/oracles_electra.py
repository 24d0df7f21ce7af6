"""The rows of electra.py."""

from __future__ import annotations

from oracles_encoders import SMALL
from parity import Oracle

ORACLES = [
    Oracle(
        "ELECTRA, a generator",
        "ElectraForMaskedLM",
        ("ElectraConfig", {**SMALL, "embedding_size": 20}),
        recipes=("known/electra_small_generator",),
        generates=False,
    ),
    Oracle(
        "ELECTRA, one width",
        "ElectraForMaskedLM",
        ("ElectraConfig", {**SMALL, "embedding_size": 48}),
        generates=False,
    ),
]
