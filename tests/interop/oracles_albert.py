"""The rows of albert.py."""

from __future__ import annotations

from oracles_encoders import SMALL
from parity import Oracle

CONFIG = {**SMALL, "embedding_size": 20, "num_hidden_layers": 4}
ORACLES = [
    Oracle(
        "ALBERT",
        "AlbertForMaskedLM",
        ("AlbertConfig", CONFIG),
        recipes=("known/albert_base", "known/albert_xxlarge"),
        generates=False,
    ),
    Oracle(
        "ALBERT, two layers in turn", "AlbertForMaskedLM", ("AlbertConfig", {**CONFIG, "inner_group_num": 2}), generates=False
    ),
]
