"""The row of gpt_bigcode.py."""

from __future__ import annotations

from parity import TOKENS, Oracle

ORACLES = [
    Oracle(
        "StarCoder",
        "GPTBigCodeForCausalLM",
        ("GPTBigCodeConfig", {**TOKENS, "vocab_size": 97, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64}),
        recipes=("known/starcoder",),
    ),
]
