"""The rows of mamba2.py and bamba.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, Oracle

SMALL = {
    **TOKENS,
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "state_size": 6,
    "num_heads": 4,
    "head_dim": 16,
    "n_groups": 2,
}
MIXER = {"mamba_n_heads": 4, "mamba_d_state": 6, "mamba_n_groups": 2, "attn_layer_indices": [1]}

ORACLES = [
    Oracle("Mamba-2", "Mamba2ForCausalLM", ("Mamba2Config", SMALL), recipes=("known/mamba_codestral_7b",), std=0.3),
    Oracle(
        "Mamba-2 with other options",
        "Mamba2ForCausalLM",
        (
            "Mamba2Config",
            {**SMALL, "n_groups": 1, "time_step_limit": [0.3, 0.9], "use_conv_bias": False, "tie_word_embeddings": True},
        ),
        std=0.3,
    ),
    Oracle("Bamba", "BambaForCausalLM", ("BambaConfig", {**GROUPED, **TOKENS, **MIXER}), recipes=("known/bamba_9b",), std=0.2),
]
