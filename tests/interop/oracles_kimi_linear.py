"""The row of kimi_linear.py."""

from __future__ import annotations

from oracles_moe import GROUPED, LATENT, corrected
from parity import TOKENS, Oracle

KINDS = ["linear_attention", "linear_attention", "full_attention", "linear_attention"]
KIMI = {
    **{n: v for n, v in LATENT.items() if n not in ("rope_parameters", "first_k_dense_replace", "n_routed_experts")},
    **TOKENS,
    "num_hidden_layers": 4,
    "q_lora_rank": None,
    "num_local_experts": 8,
    "num_experts_per_tok": 3,
    "linear_num_heads": 3,
    "linear_head_dim": 8,
    "layer_types": KINDS,
    "n_group": GROUPED["n_group"],
    "topk_group": GROUPED["topk_group"],
}

ORACLES = [
    Oracle(
        "Kimi Linear",
        "KimiLinearForCausalLM",
        ("KimiLinearConfig", KIMI),
        recipes=("known/kimi_linear_48b_a3b",),
        prepare=corrected,
    ),
    Oracle(
        "Kimi Linear with query rank",
        "KimiLinearForCausalLM",
        ("KimiLinearConfig", {**KIMI, "q_lora_rank": 16, "attention_bias": True, "n_group": 1, "topk_group": 1}),
    ),
]
