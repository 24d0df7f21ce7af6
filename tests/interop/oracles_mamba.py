"""The rows of mamba.py."""

from __future__ import annotations

from parity import TOKENS, Oracle

SMALL = {**TOKENS, "vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 3, "state_size": 6}

ORACLES = [
    Oracle("Mamba", "MambaForCausalLM", ("MambaConfig", SMALL), recipes=("known/mamba_130m",), std=0.3),
    Oracle(
        "Mamba with other options",
        "MambaForCausalLM",
        (
            "MambaConfig",
            {
                **{**SMALL, "expand": 3, "time_step_rank": 5, "conv_kernel": 3, "use_bias": True, "use_conv_bias": False},
                "tie_word_embeddings": False,
            },
        ),
        std=0.3,
        padded=False,  # its class hides padding before a projection whose bias lets it in again
    ),
    Oracle("Falcon Mamba", "FalconMambaForCausalLM", ("FalconMambaConfig", SMALL), recipes=("known/falcon_mamba_7b",), std=0.3),
]
