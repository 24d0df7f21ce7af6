"""The rows of jamba.py."""

from __future__ import annotations

from parity import SMALL, TOKENS, Oracle

SIZES = {**SMALL, **TOKENS, "num_hidden_layers": 4, "num_key_value_heads": 2, "num_experts": 4, "mamba_d_state": 6}

ORACLES = [
    Oracle(
        "Jamba",
        "JambaForCausalLM",
        ("JambaConfig", {**SIZES, "attn_layer_period": 3, "attn_layer_offset": 1}),
        recipes=("known/jamba_v0_1",),
        std=0.3,
    ),
]
