"""The row of plbart.py."""

from __future__ import annotations

from oracles_encoder_decoders import BART, biased
from parity import Oracle

ORACLES = [
    Oracle(
        "PLBART",
        "PLBartForConditionalGeneration",
        ("PLBartConfig", BART),
        recipes=("known/plbart_base",),
        source=True,
        prepare=biased,
    ),
]
