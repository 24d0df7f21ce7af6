"""Dense decoders: Mistral, Gemma, Qwen, OLMo, Phi-3, Granite, Command-R."""

from __future__ import annotations

from parity import GROUPED, SMALL, TOKENS, WIDE, Oracle

YARN = {"rope_type": "yarn", "rope_theta": 5e5, "factor": 4.0, "original_max_position_embeddings": 16}
PAIRS = 6  # of a head of 12 channels
LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0 + 0.1 * i for i in range(PAIRS)],
    "long_factor": [1.5 + i for i in range(PAIRS)],
}

ORACLES = [
    Oracle(
        "Llama, linear",
        "LlamaForCausalLM",
        ("LlamaConfig", {**GROUPED, "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
        scaled=64,
    ),
    Oracle(
        "Llama, dynamic",
        "LlamaForCausalLM",
        (
            "LlamaConfig",
            {
                **GROUPED,
                "max_position_embeddings": 40,
                "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
            },
        ),
        scaled=60,
    ),
    Oracle(
        "Llama, YaRN",
        "LlamaForCausalLM",
        (
            "LlamaConfig",
            {**GROUPED, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "rope_parameters": YARN},
        ),
        scaled=64,
    ),
    Oracle(
        "Mistral",
        "MistralForCausalLM",
        ("MistralConfig", {**WIDE, "sliding_window": 7}),
        recipes=("known/mistral_7b", "known/mistral_7b_v0_3"),
        window=7,
    ),
    Oracle(
        "Gemma 1",
        "GemmaForCausalLM",
        ("GemmaConfig", {**WIDE, "num_key_value_heads": 1}),
        recipes=("known/gemma_2b", "known/gemma_7b"),
    ),
    Oracle(
        "Gemma 2",
        "Gemma2ForCausalLM",
        (
            "Gemma2Config",
            {
                **WIDE,
                "sliding_window": 7,
                "query_pre_attn_scalar": 24,
                "attn_logit_softcapping": 2.0,
                "final_logit_softcapping": 3.0,
            },
        ),
        recipes=("known/gemma2_2b", "known/gemma2_9b", "known/gemma2_27b"),
        window=7,
    ),
    Oracle(
        "Gemma 3",
        "Gemma3ForCausalLM",
        (
            "Gemma3TextConfig",
            {
                **WIDE,
                "sliding_window": 7,
                "query_pre_attn_scalar": 24,
                "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
                "rope_parameters": {
                    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                },
            },
        ),
        recipes=("known/gemma3_1b", "known/gemma3_4b"),
        window=7,
        scaled=48,
    ),
    Oracle(
        "Qwen2",
        "Qwen2ForCausalLM",
        ("Qwen2Config", GROUPED),
        recipes=("known/qwen2_5_0_5b", "known/qwen2_5_7b"),
    ),
    Oracle(
        "Qwen2, windows above",
        "Qwen2ForCausalLM",
        ("Qwen2Config", {**GROUPED, "use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}),
        window=7,
    ),
    Oracle(
        "Qwen3",
        "Qwen3ForCausalLM",
        ("Qwen3Config", {**WIDE, "rope_parameters": YARN}),
        recipes=("known/qwen3_0_6b", "known/qwen3_8b", "known/qwen3_32b"),
        scaled=64,
    ),
    Oracle(
        "OLMo 1",
        "OlmoForCausalLM",
        ("OlmoConfig", {**SMALL, **TOKENS, "max_position_embeddings": 64, "clip_qkv": 0.2}),
        recipes=("known/olmo_1b",),
    ),
    Oracle("OLMo 2", "Olmo2ForCausalLM", ("Olmo2Config", {**GROUPED, **TOKENS}), recipes=("known/olmo2_7b",)),
    Oracle(
        "OLMo 3",
        "Olmo3ForCausalLM",
        (
            "Olmo3Config",
            {
                **GROUPED,
                **TOKENS,
                "num_hidden_layers": 4,
                "sliding_window": 7,
                "rope_parameters": {
                    "sliding_attention": {"rope_type": "default", "rope_theta": 5e5},
                    "full_attention": {**YARN, "attention_factor": 1.2079441541679836, "beta_fast": 32.0, "beta_slow": 1.0},
                },
            },
        ),
        recipes=("known/olmo3_7b",),
        window=7,
        scaled=64,
    ),
    Oracle(
        "Phi-3",
        "Phi3ForCausalLM",
        ("Phi3Config", {**SMALL, **TOKENS, "max_position_embeddings": 64, "sliding_window": 7}),
        recipes=("known/phi3_mini", "known/phi4"),
        window=7,
    ),
    Oracle(
        "Phi-3.5, LongRoPE",
        "Phi3ForCausalLM",
        (
            "Phi3Config",
            {
                **GROUPED,
                **TOKENS,
                "tie_word_embeddings": True,
                "max_position_embeddings": 160,
                "original_max_position_embeddings": 40,
                "rope_parameters": LONG,
            },
        ),
        recipes=("known/phi3_5_mini",),
        scaled=60,
    ),
    Oracle(
        "Phi-4-mini, three quarters turned",
        "Phi3ForCausalLM",
        (
            "Phi3Config",
            {
                **GROUPED,
                **TOKENS,
                "hidden_size": 64,
                "max_position_embeddings": 160,
                "original_max_position_embeddings": 40,
                "rope_parameters": {**LONG, "partial_rotary_factor": 0.75},
            },
        ),
        scaled=60,
    ),
    Oracle(
        "Granite 3",
        "GraniteForCausalLM",
        (
            "GraniteConfig",
            {
                **GROUPED,
                "tie_word_embeddings": True,
                "embedding_multiplier": 12.0,
                "attention_multiplier": 0.2,
                "residual_multiplier": 0.22,
                "logits_scaling": 13.0,
            },
        ),
        recipes=("known/granite_3_2b",),
    ),
    Oracle(
        "Command-R",
        "CohereForCausalLM",
        ("CohereConfig", {**GROUPED, **TOKENS, "logit_scale": 0.3}),
        recipes=("known/command_r",),
    ),
    Oracle("Command-R+", "CohereForCausalLM", ("CohereConfig", {**GROUPED, **TOKENS, "use_qk_norm": True})),
]
