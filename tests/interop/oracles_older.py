"""The older dense decoders: GPT-NeoX, GPT-J, Phi, Falcon, MPT, BLOOM."""

from __future__ import annotations

from parity import Oracle
from torch import nn

NEOX = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4}
GPTJ = {"vocab_size": 97, "n_embd": 64, "n_layer": 3, "n_head": 4, "rotary_dim": 8, "n_positions": 64}
SIX = {"vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6}
RW = {**SIX, "alibi": True, "multi_query": False, "parallel_attn": False, "bias": True}


def sdpa(model: nn.Module) -> None:
    """Falcon's eager attention adds ALiBi twice: to the scores, and with the mask that the model has added it to."""
    model.config._attn_implementation = "sdpa"


ORACLES = [
    Oracle("GPT-NeoX", "GPTNeoXForCausalLM", ("GPTNeoXConfig", NEOX), recipes=("known/pythia_160m", "known/pythia_6_9b")),
    Oracle(
        "GPT-NeoX, one branch after the other",
        "GPTNeoXForCausalLM",
        (
            "GPTNeoXConfig",
            {
                **NEOX,
                "use_parallel_residual": False,
                "attention_bias": False,
                "tie_word_embeddings": True,
                "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0, "partial_rotary_factor": 1.0},
            },
        ),
    ),
    Oracle("GPT-J", "GPTJForCausalLM", ("GPTJConfig", GPTJ), recipes=("known/gptj_6b",)),
    Oracle("Phi-1, Phi-2", "PhiForCausalLM", ("PhiConfig", NEOX), recipes=("known/phi_1_5", "known/phi_2")),
    Oracle(
        "Phi with QK-norm",
        "PhiForCausalLM",
        ("PhiConfig", {**NEOX, "qk_layernorm": True, "num_key_value_heads": 2, "layer_norm_eps": 1e-3}),
    ),
    Oracle("Falcon 7B", "FalconForCausalLM", ("FalconConfig", SIX), recipes=("known/falcon_7b",)),
    Oracle(
        "Falcon 40B",
        "FalconForCausalLM",
        ("FalconConfig", {**SIX, "new_decoder_architecture": True, "num_kv_heads": 2}),
        recipes=("known/falcon_40b",),
    ),
    Oracle(
        "Falcon 40B, one norm",
        "FalconForCausalLM",
        (
            "FalconConfig",
            {
                **SIX,
                "new_decoder_architecture": True,
                "num_kv_heads": 3,
                "num_ln_in_parallel_attn": 1,
                "ffn_hidden_size": 80,
                "tie_word_embeddings": False,
            },
        ),
    ),
    # 300: from 256 positions on, bf16 is too coarse for the penalties
    Oracle("Falcon RW", "FalconForCausalLM", ("FalconConfig", RW), recipes=("known/falcon_rw_1b",), scaled=300, prepare=sdpa),
    Oracle(
        "MPT",
        "MptForCausalLM",
        ("MptConfig", {"vocab_size": 97, "d_model": 48, "n_layers": 3, "n_heads": 6, "max_seq_len": 64}),
        recipes=("known/mpt_7b",),
    ),
    Oracle(
        "MPT, clipped and scaled",
        "MptForCausalLM",
        (
            "MptConfig",
            {
                **{"vocab_size": 97, "d_model": 48, "n_layers": 2, "n_heads": 4, "max_seq_len": 64},
                "attn_config": {"clip_qkv": 0.5, "softmax_scale": 0.7},
                "tie_word_embeddings": False,
            },
        ),
    ),
    Oracle(
        "BLOOM",
        "BloomForCausalLM",
        ("BloomConfig", {"vocab_size": 97, "hidden_size": 48, "n_layer": 3, "n_head": 6}),
        recipes=("known/bloom_560m", "known/bloom_7b1"),
    ),
]
