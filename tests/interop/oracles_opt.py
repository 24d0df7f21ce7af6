"""The row of opt.py."""

from __future__ import annotations

from parity import SMALL, TOKENS, Oracle

ORACLES = [
    Oracle(
        "OPT",
        "OPTForCausalLM",
        (
            "OPTConfig",
            {
                **{n: v for n, v in SMALL.items() if n != "intermediate_size"},
                **TOKENS,
                "ffn_dim": 80,
                "max_position_embeddings": 64,
            },
        ),
        recipes=("known/opt_125m", "known/opt_6_7b"),
    ),
]
