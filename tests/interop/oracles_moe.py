"""Mixtures of experts and hybrids."""

from __future__ import annotations

from dataclasses import replace

import torch
from parity import Oracle
from torch import nn

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "beta_fast": 4.0,
    "beta_slow": 0.5,
    "original_max_position_embeddings": 16,
}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 1.0}
LATENT = {
    **SMALL,
    "num_key_value_heads": 4,
    "num_hidden_layers": 3,
    "num_experts_per_tok": 3,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "moe_intermediate_size": 12,
    "q_lora_rank": 16,
    "kv_lora_rank": 12,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 6,
    "v_head_dim": 10,
    "first_k_dense_replace": 1,
    "rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.0},
}


GROUPED = {  # experts in groups, some of them shared, the first layer dense: DeepSeek-V3's routing on another attention
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 12,
    "n_group": 4,
    "topk_group": 2,
    "first_k_dense_replace": 1,
    "routed_scaling_factor": 2.5,
    "norm_topk_prob": True,
}


def corrected(model: nn.Module) -> None:
    """Corrections that change the choice, as training would have left them."""
    generator = torch.Generator().manual_seed(5)
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.copy_(torch.empty(buffer.shape).normal_(0.0, 0.1, generator=generator))


MULTIPLIED = {"attention_multiplier": 0.2, "embedding_multiplier": 7, "logits_scaling": 3.5, "residual_multiplier": 0.4}
HYBRID = {
    **SMALL,
    **MULTIPLIED,
    "num_local_experts": 6,
    "num_experts_per_tok": 3,
    "intermediate_size": 12,
    "shared_intermediate_size": 20,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_state": 6,
    "layer_types": ["mamba", "attention", "mamba"],
}


ROWS = [
    Oracle(
        "Mixtral",
        "MixtralForCausalLM",
        ("MixtralConfig", {**SMALL, "num_local_experts": 4, "sliding_window": 10}),
        recipes=("known/mixtral_8x7b", "known/mixtral_8x22b"),
        window=10,
    ),
    Oracle(
        "Qwen3-MoE",
        "Qwen3MoeForCausalLM",
        (
            "Qwen3MoeConfig",
            {
                **SMALL,
                "head_dim": 16,
                "num_experts": 8,
                "num_experts_per_tok": 3,
                "moe_intermediate_size": 24,
                "norm_topk_prob": True,
                "mlp_only_layers": [1],
            },
        ),
        recipes=("known/qwen3_30b_a3b",),
    ),
    Oracle(
        "DeepSeek-V3",
        "DeepseekV3ForCausalLM",
        ("DeepseekV3Config", {**LATENT, "n_group": 4, "topk_group": 2, "norm_topk_prob": True, "routed_scaling_factor": 2.5}),
        recipes=("known/deepseek_v3",),
        scaled=48,
        prepare=corrected,
    ),
    Oracle(
        "DeepSeek-V3 without query rank",
        "DeepseekV3ForCausalLM",
        (
            "DeepseekV3Config",
            {**LATENT, "q_lora_rank": None, "n_group": 1, "topk_group": 1, "rope_interleave": False, "attention_bias": True},
        ),
    ),
    Oracle(
        "DeepSeek-V2",
        "DeepseekV2ForCausalLM",
        (
            "DeepseekV2Config",
            {**LATENT, "n_group": 4, "topk_group": 2, "topk_method": "group_limited_greedy", "routed_scaling_factor": 4.0},
        ),
        recipes=("known/deepseek_v2",),
        scaled=48,
    ),
    Oracle(
        "DeepSeek-V2-Lite",
        "DeepseekV2ForCausalLM",
        ("DeepseekV2Config", {**LATENT, "q_lora_rank": None, "n_group": 1, "topk_group": 1}),
        recipes=("known/deepseek_v2_lite",),
        scaled=48,
    ),
    Oracle(
        "gpt-oss",
        "GptOssForCausalLM",
        (
            "GptOssConfig",
            {
                **SMALL,
                "num_hidden_layers": 4,
                "head_dim": 16,
                "num_local_experts": 6,
                "num_experts_per_tok": 3,
                "sliding_window": 8,
                "swiglu_limit": 0.5,
                "rope_parameters": {**YARN, "truncate": False},
            },
        ),
        recipes=("known/gpt_oss_20b", "known/gpt_oss_120b"),
        window=8,
        scaled=48,
    ),
    Oracle(
        "Qwen3-Next",
        "Qwen3NextForCausalLM",
        (
            "Qwen3NextConfig",
            {
                **SMALL,
                "num_hidden_layers": 4,
                "head_dim": 16,
                "num_experts": 8,
                "num_experts_per_tok": 3,
                "moe_intermediate_size": 12,
                "shared_expert_intermediate_size": 20,
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 4,
                "linear_key_head_dim": 8,
                "linear_value_head_dim": 6,
                "mlp_only_layers": [1],
            },
        ),
        recipes=("known/qwen3_next_80b_a3b",),
    ),
    Oracle(
        "Llama 4",
        "Llama4ForCausalLM",
        (
            "Llama4TextConfig",
            {
                **SMALL,
                "num_hidden_layers": 4,
                "intermediate_size_mlp": 40,
                "head_dim": 8,
                "num_local_experts": 4,
                "interleave_moe_layer_step": 2,
                "attention_chunk_size": 10,
                "floor_scale": 30,  # beyond the length of the rows with padding, whose positions its class counts with the padding
                "attn_scale": 0.5,
                "rope_parameters": {**LLAMA3, "original_max_position_embeddings": 16},
            },
        ),
        recipes=("known/llama4_scout",),
        window=10,
        scaled=48,
    ),
    Oracle(
        "Llama 4 Maverick",
        "Llama4ForCausalLM",
        (
            "Llama4TextConfig",
            {
                **SMALL,
                "head_dim": 8,
                "num_local_experts": 4,
                "num_experts_per_tok": 2,
                "attention_chunk_size": 10,
                "use_qk_norm": False,
                "attn_temperature_tuning": False,
                "no_rope_layers": [0, 1, 1],
            },
        ),
    ),
    Oracle(
        "GraniteMoe",
        "GraniteMoeForCausalLM",
        (
            "GraniteMoeConfig",
            {**SMALL, **MULTIPLIED, "num_local_experts": 6, "num_experts_per_tok": 3, "tie_word_embeddings": True},
        ),
        recipes=("known/granite_3_1b_a400m",),
    ),
    Oracle(
        "Granite 4 hybrid",
        "GraniteMoeHybridForCausalLM",
        ("GraniteMoeHybridConfig", {**HYBRID, "mamba_n_groups": 2, "tie_word_embeddings": True}),
        recipes=("known/granite_4_h_tiny",),
    ),
    Oracle(
        "Granite 4 hybrid without experts",
        "GraniteMoeHybridForCausalLM",
        (
            "GraniteMoeHybridConfig",
            {**HYBRID, "num_local_experts": 0, "position_embedding_type": "rope", "mamba_conv_bias": False},
        ),
    ),
]
# with the usual 0.1 norms scale to a tenth, and neither a factor on scores nor a limit of experts would show
ORACLES = [replace(row, std=0.3) for row in ROWS]
