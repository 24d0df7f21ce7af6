"""The rows of lfm2.py and lfm2_moe.py."""

from __future__ import annotations

from oracles_moe import corrected
from parity import GROUPED, Oracle

LAYERS = {**GROUPED, "num_hidden_layers": 4, "layer_types": ["conv", "full_attention", "conv", "conv"]}

ORACLES = [
    Oracle("LFM2", "Lfm2ForCausalLM", ("Lfm2Config", {**LAYERS, "block_multiple_of": 8}), recipes=("known/lfm2_1_2b",)),
    Oracle(
        "LFM2 with biases",
        "Lfm2ForCausalLM",
        ("Lfm2Config", {**LAYERS, "conv_bias": True, "conv_L_cache": 4, "tie_word_embeddings": False}),
        padded=False,  # its class hides padding before a projection whose bias lets it in again
    ),
    Oracle(
        "LFM2 with experts",
        "Lfm2MoeForCausalLM",
        (
            "Lfm2MoeConfig",
            {**LAYERS, "num_dense_layers": 1, "num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 12},
        ),
        recipes=("known/lfm2_8b_a1b",),
        prepare=corrected,
        std=0.3,
    ),
]
