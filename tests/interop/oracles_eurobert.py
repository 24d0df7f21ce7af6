"""The row of eurobert.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, Oracle

ORACLES = [
    Oracle(
        "EuroBERT",
        "EuroBertForMaskedLM",
        ("EuroBertConfig", {**GROUPED, **TOKENS}),
        recipes=("known/eurobert_210m",),
        generates=False,
    ),
]
