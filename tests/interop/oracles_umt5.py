"""The rows of UMT5, whose mappings are in t5.py."""

from __future__ import annotations

from oracles_encoder_decoders import T5
from parity import Oracle

ORACLES = [
    Oracle(
        "UMT5",
        "UMT5ForConditionalGeneration",
        ("UMT5Config", {**T5, "num_decoder_layers": 2, "tie_word_embeddings": False}),
        recipes=("known/umt5_small",),
        source=True,
        untied=True,
    ),
    Oracle(
        "UMT5 without gates",
        "UMT5ForConditionalGeneration",
        ("UMT5Config", {**T5, "feed_forward_proj": "relu"}),
        source=True,
    ),
]
