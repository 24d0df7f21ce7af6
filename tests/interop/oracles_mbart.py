"""The row of mbart.py."""

from __future__ import annotations

from oracles_encoder_decoders import BART, biased
from parity import Oracle

ORACLES = [
    Oracle(
        "mBART",
        "MBartForConditionalGeneration",
        ("MBartConfig", BART),
        recipes=("known/mbart_large",),
        source=True,
        prepare=biased,
    ),
]
