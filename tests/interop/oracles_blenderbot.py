"""The row of blenderbot.py."""

from __future__ import annotations

from oracles_encoder_decoders import BART, biased
from parity import Oracle

ORACLES = [
    Oracle(
        "Blenderbot",
        "BlenderbotForConditionalGeneration",
        ("BlenderbotConfig", BART),
        recipes=("known/blenderbot_3b",),
        source=True,
        prepare=biased,
    ),
]
