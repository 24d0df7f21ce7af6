"""The rows of gemma3n.py."""

from __future__ import annotations

from parity import TOKENS, WIDE, Oracle

SLIDING, FULL = "sliding_attention", "full_attention"
SIZES = {
    **WIDE,
    **TOKENS,
    "num_hidden_layers": 5,
    "layer_types": [SLIDING, FULL, SLIDING, FULL, SLIDING],
    "sliding_window": 7,
    "hidden_size_per_layer_input": 6,
    "vocab_size_per_layer_input": 90,  # ids beyond take the first row
    "laurel_rank": 5,
    "num_kv_shared_layers": 2,
    "activation_sparsity_pattern": [0.9, 0.9, 0.0, 0.0, 0.0],
}

ORACLES = [
    Oracle(
        "Gemma 3n",
        "Gemma3nForCausalLM",
        ("Gemma3nTextConfig", SIZES),
        recipes=("known/gemma3n_e2b", "known/gemma3n_e4b"),
        window=7,
        std=0.2,
    ),
    Oracle(
        "Gemma 3n without lent keys, widths of each layer, two streams",
        "Gemma3nForCausalLM",
        (
            "Gemma3nTextConfig",
            {
                **SIZES,
                "num_kv_shared_layers": 0,
                "intermediate_size": [64, 80, 80, 48, 80],
                "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0, 0.9],
                "altup_num_inputs": 2,
                "vocab_size_per_layer_input": 97,
                "tie_word_embeddings": False,
                "rope_parameters": {
                    SLIDING: {"rope_type": "default", "rope_theta": 1e4},
                    FULL: {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                },
            },
        ),
        window=7,
        scaled=48,
        std=0.2,
    ),
]
