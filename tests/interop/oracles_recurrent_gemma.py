"""The rows of recurrent_gemma.py."""

from __future__ import annotations

from parity import SMALL, TOKENS, Oracle

SIZES = {
    **SMALL,
    **TOKENS,
    "num_hidden_layers": 4,
    "num_key_value_heads": 1,
    "attention_window_size": 7,
    "attention_bias": True,
}

ORACLES = [
    Oracle(
        "RecurrentGemma",
        "RecurrentGemmaForCausalLM",
        ("RecurrentGemmaConfig", {**SIZES, "lru_width": 32}),
        recipes=("known/recurrentgemma_2b",),
        window=7,
        padded=False,  # its class lets padding into the recurrence
        std=0.2,
    ),
]
