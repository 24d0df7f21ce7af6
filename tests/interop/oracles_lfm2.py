"""The rows of lfm2.py."""

from __future__ import annotations

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
]
