"""The row of pegasus.py."""

from __future__ import annotations

from oracles_encoder_decoders import BART, biased
from parity import Oracle

ORACLES = [
    Oracle(
        "Pegasus",
        "PegasusForConditionalGeneration",
        ("PegasusConfig", {**BART, "activation_function": "relu", "scale_embedding": True}),
        recipes=("known/pegasus_large",),
        source=True,
        prepare=biased,
    ),
]
