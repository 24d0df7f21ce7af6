"""The row of granite_moe_shared.py."""

from __future__ import annotations

from oracles_moe import MULTIPLIED
from parity import GROUPED, TOKENS, Oracle

ORACLES = [
    Oracle(
        "Granite, shared expert",
        "GraniteMoeSharedForCausalLM",
        (
            "GraniteMoeSharedConfig",
            {
                **GROUPED,
                **TOKENS,
                **MULTIPLIED,
                "num_local_experts": 6,
                "num_experts_per_tok": 3,
                "shared_intermediate_size": 20,
            },
        ),
        recipes=("known/granite_moe_shared",),
    ),
]
