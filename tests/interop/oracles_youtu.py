"""The row of youtu.py."""

from __future__ import annotations

from parity import SMALL, TOKENS, Oracle

ORACLES = [
    Oracle(
        "Youtu",
        "YoutuForCausalLM",
        (
            "YoutuConfig",
            {
                **SMALL,
                **TOKENS,
                "num_key_value_heads": 4,
                "max_position_embeddings": 64,
                "q_lora_rank": 16,
                "kv_lora_rank": 12,
                "qk_rope_head_dim": 8,
                "qk_nope_head_dim": 6,
                "v_head_dim": 10,
            },
        ),
        recipes=("known/youtu_2b",),
    ),
]
