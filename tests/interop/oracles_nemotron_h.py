"""The rows of nemotron_h.py."""

from __future__ import annotations

from oracles_moe import corrected
from parity import TOKENS, WIDE, Oracle

SIZES = {**WIDE, **TOKENS, "mamba_num_heads": 4, "mamba_head_dim": 8, "ssm_state_size": 6, "n_groups": 2}
SIZES.pop("num_hidden_layers")  # counted by the class


ORACLES = [
    Oracle(
        "Nemotron-H",
        "NemotronHForCausalLM",
        ("NemotronHConfig", {**SIZES, "hybrid_override_pattern": "M-M*-M-"}),
        recipes=("known/nemotron_h_8b",),
    ),
    Oracle(
        "Nemotron 3",
        "NemotronHForCausalLM",
        (
            "NemotronHConfig",
            {
                **{**SIZES, "hybrid_override_pattern": "MEM*E", "n_routed_experts": 8, "num_experts_per_tok": 3},
                **{"moe_intermediate_size": 24, "moe_shared_expert_intermediate_size": 40, "routed_scaling_factor": 2.5},
            },
        ),
        recipes=("known/nemotron_3_nano",),
        prepare=corrected,
    ),
    Oracle(
        "Nemotron-H with biases, clamped",
        "NemotronHForCausalLM",
        (
            "NemotronHConfig",
            {
                **{**SIZES, "layers_block_type": ["linear_attention", "mlp", "full_attention"], "time_step_min": 0.7},
                **{"use_bias": True, "mlp_bias": True, "use_conv_bias": False, "tie_word_embeddings": False},
            },
        ),
        padded=False,  # with a bias of its projections, its class lets padding into the convolution
        generates=False,  # its class clamps dt where it reads a text, and not in its steps of decoding
    ),
]
