"""The rows of gemma4.py."""

from __future__ import annotations

import torch
from parity import TOKENS, WIDE, Oracle
from torch import nn

SLIDING, FULL = "sliding_attention", "full_attention"
SIZES = {
    **WIDE,
    **TOKENS,
    "num_hidden_layers": 6,
    "layer_types": [SLIDING, FULL, SLIDING, FULL, SLIDING, FULL],
    "sliding_window": 7,
    "global_head_dim": 24,
    "hidden_size_per_layer_input": 6,
    "vocab_size_per_layer_input": 97,
}


def scaled(model: nn.Module) -> None:
    """Numbers at the end of layers, which no training moves and a fresh model has as 1."""
    for i, layer in enumerate(model.model.layers):
        layer.layer_scalar = nn.Buffer(torch.tensor([0.6 + 0.1 * i]))


ORACLES = [
    Oracle(
        "Gemma 4",
        "Gemma4ForCausalLM",
        (
            "Gemma4TextConfig",
            {**SIZES, "num_kv_shared_layers": 2, "use_double_wide_mlp": True, "final_logit_softcapping": 30.0},
        ),
        recipes=("known/gemma4_e2b", "known/gemma4_e4b"),
        window=7,
        std=0.2,
        prepare=scaled,
    ),
    Oracle(
        "Gemma 4, keys as values, no vectors of layers, biases",
        "Gemma4ForCausalLM",
        (
            "Gemma4TextConfig",
            {
                **SIZES,
                "num_global_key_value_heads": 1,
                "attention_k_eq_v": True,
                "hidden_size_per_layer_input": 0,
                "attention_bias": True,
                "tie_word_embeddings": False,
                "use_bidirectional_attention": "vision",
            },
        ),
        recipes=("known/gemma4_31b",),
        window=7,
        std=0.2,
        prepare=scaled,
    ),
    Oracle(
        "Gemma 4 with experts",
        "Gemma4ForCausalLM",
        (
            "Gemma4TextConfig",
            {
                **SIZES,
                "hidden_size_per_layer_input": 0,
                "enable_moe_block": True,
                "num_experts": 5,
                "top_k_experts": 2,
                "moe_intermediate_size": 12,
                "attention_k_eq_v": True,
                "num_global_key_value_heads": 1,
            },
        ),
        recipes=("known/gemma4_26b_a4b",),
        window=7,
        std=0.2,
        prepare=scaled,
    ),
]
