"""The row of stablelm.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, Oracle

ORACLES = [
    Oracle(
        "StableLM",
        "StableLmForCausalLM",
        ("StableLmConfig", {**GROUPED, **TOKENS, "hidden_size": 64, "use_qkv_bias": True}),
        recipes=("known/stablelm_3b",),
    ),
    Oracle(
        "StableLM 2 12B",
        "StableLmForCausalLM",
        ("StableLmConfig", {**GROUPED, **TOKENS, "hidden_size": 64, "qk_layernorm": True, "use_parallel_residual": True}),
    ),
]
