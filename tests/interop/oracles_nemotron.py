"""The row of nemotron.py, the example of docs/how_to/add_an_architecture.md."""

from __future__ import annotations

from oracles_older import NEOX
from parity import Oracle

ORACLES = [
    Oracle(
        "Nemotron-4",
        "NemotronForCausalLM",
        ("NemotronConfig", {**NEOX, "num_key_value_heads": 2}),
        recipes=("known/nemotron_4_15b",),
    ),
]
