"""The row of solar_open.py."""

from __future__ import annotations

from oracles_moe import corrected
from parity import TOKENS, WIDE, Oracle

ORACLES = [
    Oracle(
        "Solar Open",
        "SolarOpenForCausalLM",
        (
            "SolarOpenConfig",
            {
                **{n: v for n, v in WIDE.items() if n != "intermediate_size"},
                **TOKENS,
                "n_routed_experts": 8,
                "n_shared_experts": 2,
                "num_experts_per_tok": 3,
                "moe_intermediate_size": 12,
                "n_group": 4,
                "topk_group": 2,
            },
        ),
        prepare=corrected,
        recipes=("known/solar_open_100b",),
    ),
]
