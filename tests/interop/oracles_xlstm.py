"""The rows of xlstm.py."""

from __future__ import annotations

from parity import TOKENS, Oracle

SMALL = {
    **{**TOKENS, "vocab_size": 97, "hidden_size": 128, "num_hidden_layers": 3, "num_heads": 4},
    "autocast_kernel_dtype": "float32",  # bf16 where nothing is said
}

ORACLES = [
    Oracle("xLSTM", "xLSTMForCausalLM", ("xLSTMConfig", SMALL), recipes=("known/xlstm_7b",), padded=False),
    Oracle(
        "xLSTM with other options",
        "xLSTMForCausalLM",
        (
            "xLSTMConfig",
            {
                **{**SMALL, "qk_dim_factor": 1.0, "v_dim_factor": 1.5, "gate_soft_cap": 3.0, "output_logit_soft_cap": 5.0},
                **{"ffn_proj_factor": 1.3, "ffn_round_up_to_multiple_of": 7, "norm_eps": 1e-5},
            },
        ),
        padded=False,  # its class knows no padding
        std=0.2,
    ),
]
