"""The row of arcee.py."""

from __future__ import annotations

from parity import TOKENS, WIDE, Oracle

ORACLES = [
    Oracle("Arcee", "ArceeForCausalLM", ("ArceeConfig", {**WIDE, **TOKENS, "mlp_bias": True}), recipes=("known/arcee_4b",)),
]
