"""The row of mt5.py."""

from __future__ import annotations

from oracles_encoder_decoders import T5
from parity import Oracle

ORACLES = [
    Oracle("mT5", "MT5ForConditionalGeneration", ("MT5Config", T5), source=True),
]
