"""The rows of olmo_hybrid.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, Oracle

# values are as wide as keys together: else transformers cuts the convolutions of q, k and v in equal thirds when it saves them
SIZES = {
    **{**GROUPED, **TOKENS, "num_hidden_layers": 4, "linear_num_key_heads": 2, "linear_num_value_heads": 4},
    **{"linear_key_head_dim": 8, "linear_value_head_dim": 4},
}

ORACLES = [
    Oracle(
        "OLMo Hybrid",
        "OlmoHybridForCausalLM",
        ("OlmoHybridConfig", {**SIZES, "rope_parameters": {"rope_type": "default", "rope_theta": None}}),
        recipes=("known/olmo_hybrid_7b",),
    ),
    Oracle(
        "OLMo Hybrid with rotation",
        "OlmoHybridForCausalLM",
        (
            "OlmoHybridConfig",
            {
                **{**SIZES, "layer_types": ["full_attention", "linear_attention", "full_attention", "linear_attention"]},
                **{"linear_allow_neg_eigval": False, "linear_num_value_heads": 2, "linear_value_head_dim": 8},
            },
        ),
    ),
]
