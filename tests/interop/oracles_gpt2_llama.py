"""GPT-2 and Llama."""

from __future__ import annotations

from parity import Oracle

SMALL = {"vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
ORACLES = [
    Oracle(
        "GPT-2",
        "GPT2LMHeadModel",
        ("GPT2Config", {"vocab_size": 97, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64}),
        recipes=("known/gpt2", "known/gpt2_medium", "known/gpt2_large", "known/gpt2_xl"),
    ),
    Oracle(
        "Llama 2",
        "LlamaForCausalLM",
        ("LlamaConfig", {**SMALL, "max_position_embeddings": 64}),
        recipes=("known/llama2_7b", "known/llama2_13b", "known/llama2_70b"),
    ),
    Oracle(
        "Llama 3",
        "LlamaForCausalLM",
        (
            "LlamaConfig",
            {
                **SMALL,
                "num_key_value_heads": 2,
                "max_position_embeddings": 64,
                "rope_parameters": {**LLAMA3, "original_max_position_embeddings": 16},
            },
        ),
        recipes=("known/llama3_8b", "known/llama3_1_8b", "known/llama3_1_70b", "known/llama3_2_1b"),
        scaled=48,
    ),
]
