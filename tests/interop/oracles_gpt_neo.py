"""The row of gpt_neo.py."""

from __future__ import annotations

from parity import TOKENS, Oracle

ORACLES = [
    Oracle(
        "GPT-Neo",
        "GPTNeoForCausalLM",
        (
            "GPTNeoConfig",
            {
                **TOKENS,
                "vocab_size": 97,
                "hidden_size": 48,
                "num_layers": 4,
                "num_heads": 4,
                "max_position_embeddings": 64,
                "attention_types": [[["global", "local"], 2]],
                "window_size": 7,
            },
        ),
        window=7,
        recipes=("known/gpt_neo_1_3b",),
    ),
]
