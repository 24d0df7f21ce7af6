"""The rows of apertus.py."""

from __future__ import annotations

from parity import GROUPED, Oracle

ORACLES = [
    Oracle(
        "Apertus",
        "ApertusForCausalLM",
        ("ApertusConfig", {**GROUPED, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}),
        recipes=("known/apertus_8b",),
        std=0.3,  # enough that the activation's two halves differ
    ),
    Oracle("Apertus, scaled as its class does", "ApertusForCausalLM", ("ApertusConfig", {**GROUPED, "attention_bias": True})),
]
