"""The row of hunyuan_v1_dense.py."""

from __future__ import annotations

from parity import TOKENS, WIDE, Oracle

ORACLES = [
    Oracle(
        "Hunyuan",
        "HunYuanDenseV1ForCausalLM",
        (
            "HunYuanDenseV1Config",
            {**WIDE, **TOKENS, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "alpha": 50.0, "factor": 1.0}},
        ),
        recipes=("known/hunyuan_v1_7b",),
    ),
]
