"""The rows of falcon_h1.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, WIDE, Oracle

MIXER = {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_state": 6, "mamba_n_groups": 2}
MULTIPLIERS = {
    "embedding_multiplier": 1.5,
    "lm_head_multiplier": 0.7,
    "key_multiplier": 0.39062499999999994,
    "attention_in_multiplier": 1.2,
    "attention_out_multiplier": 0.9375,
    "ssm_in_multiplier": 1.25,
    "ssm_out_multiplier": 0.6,
    "mlp_multipliers": [0.8838834764831844, 0.5859375],
    "ssm_multipliers": [0.9, 1.1, 0.8, 1.2, 1.3],
}

ORACLES = [
    Oracle(
        "Falcon-H1",
        "FalconH1ForCausalLM",
        ("FalconH1Config", {**GROUPED, **TOKENS, **MIXER, **MULTIPLIERS}),
        recipes=("known/falcon_h1_0_5b",),
        std=0.2,
    ),
    Oracle(
        "Falcon-H1 with norms, biases and other heads",
        "FalconH1ForCausalLM",
        (
            "FalconH1Config",
            {
                **{**WIDE, **TOKENS, **MIXER, **MULTIPLIERS, "mamba_rms_norm": True, "mamba_norm_before_gate": False},
                **dict.fromkeys(("attention_bias", "mlp_bias", "mamba_proj_bias", "projectors_bias"), True),
                "mamba_conv_bias": False,
                "tie_word_embeddings": True,
            },
        ),
        padded=False,  # with a bias of its projections, its class lets padding into the convolution
        std=0.2,
    ),
]
