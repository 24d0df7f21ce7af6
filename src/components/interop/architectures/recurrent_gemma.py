"""RecurrentGemma (Botev et al. 2024, arXiv:2404.07839): two RG-LRUs, then attention of a window, half of whose channels turn.

What multiplies the embeddings is sqrt(hidden_size) as bf16 has it: the class keeps it so in any dtype.
"""

from __future__ import annotations

import torch

from components.interop.architecture import SAME, Architecture, Rule
from components.interop.architectures._common import ATTENTION, decoder_sizes, in_each, rope, stack, tied, unused
from components.interop.architectures._gemma import GELU, GEMMA
from components.interop.architectures._layers import in_layers, layers_of, option
from components.interop.architectures._llama import DROPOUT
from components.interop.fields import Custom, Fields, Get, Mapped, Options, Same, Theirs, Unsupported, value_of
from components.interop.layouts import Layout, Reshaped

LRU, KINDS = "rg_lru", ("recurrent", "attention")
NAMES = {f"mlp_block.{n}_proj": f"ffn.{o}" for n, o in (("gate", "gate"), ("up", "up"), ("down", "out"))}
OWN_SIZES = ("hidden_size", "intermediate_size", "max_position_embeddings")


def _read_sizes(config: Theirs) -> Options:
    width = config["hidden_size"]
    return {
        "model.d_model": width,
        "model.embedding.scale": torch.tensor(width**0.5, dtype=torch.bfloat16).item(),
        "model.ffn.d_ff": config["intermediate_size"] // 2,  # the file counts gate and up together
    }


def _write_sizes(get: Get) -> Fields:
    return {"hidden_size": get("model.d_model"), "intermediate_size": 2 * get("model.ffn.d_ff")}


def _read_layers(config: Theirs) -> Options:
    n_layers, pattern = config["num_hidden_layers"], config.get("block_types") or ["recurrent", "recurrent", "attention"]
    if unknown := sorted(set(pattern) - set(KINDS)):
        raise Unsupported(f"block_types: {', '.join(unknown)} is not known, there are {', '.join(KINDS)}")
    node = {
        "name": LRU,
        "width": config.get("lru_width"),
        "n_heads": config["num_attention_heads"],
        "conv_size": value_of(config, "conv1d_width", 4),
        "activation": GELU[value_of(config, "hidden_activation", "gelu_pytorch_tanh")],
    }
    those = [i for i in range(n_layers) if pattern[i % len(pattern)] == KINDS[0]]
    return in_layers(those, n_layers, "attention", node) | in_layers(those, n_layers, "position", "none")


def _write_layers(get: Get) -> Fields:
    those = layers_of(get, "attention", LRU)
    if not those:
        raise Unsupported("no layer is a recurrence")
    return {
        "block_types": [KINDS[i not in those] for i in range(get("model.n_layers"))],
        "lru_width": option(get, "attention", LRU, "width"),
        "conv1d_width": option(get, "attention", LRU, "conv_size", 4),
    }


def _lru(theirs: str, ours: str, form: Layout = SAME) -> Rule:
    where = "model.layers.{i}.temporal_block."
    return Rule(where + theirs, stack(f"attention.{ours}"), form, layers=lambda get: layers_of(get, "attention", LRU))


ARCHITECTURE = Architecture(
    names=("RecurrentGemmaForCausalLM",),
    model_type="recurrent_gemma",
    base={
        "model": {
            **GEMMA["model"],
            "attention": {"name": "gqa", "mask": {"name": "sliding_window"}},
            "ffn": {"name": "glu", "activation": "gelu_tanh", "bias": True},
        }
    },
    fields=(
        *(f for f in decoder_sizes() if f.names[0] not in OWN_SIZES),
        Custom(("hidden_size", "intermediate_size"), _read_sizes, _write_sizes),
        Same("max_position_embeddings", "model.context_length", 8192),
        Same("num_key_value_heads", "model.attention.n_kv_heads", None),
        Same("attention_window_size", "model.attention.mask.window", 2048),
        Mapped("attention_bias", "model.attention.bias", {False: ["out"], True: ["q", "k", "v", "out"]}, False),
        Mapped("hidden_activation", "model.ffn.activation", GELU, "gelu_pytorch_tanh"),
        Custom(("block_types", "lru_width", "conv1d_width"), _read_layers, _write_layers),
        Same("logits_soft_cap", "model.head.soft_cap", 30.0),
        Same("rms_norm_eps", "model.norm.eps", 1e-6),
        *(rope(share=0.5), DROPOUT, tied(True), unused("embeddings_scale_by_sqrt_dim", True)),
    ),
    tensors=(
        Rule("model.embed_tokens.weight", "embedding.table.weight"),
        Rule("model.final_norm.weight", "stack.final_norm.weight"),
        Rule("lm_head.weight", "head.logits.weight"),
        Rule("model.layers.{i}.temporal_pre_norm.weight", stack("attention_norm.weight")),
        Rule("model.layers.{i}.channel_pre_norm.weight", stack("ffn_norm.weight")),
        *(_lru(f"linear_{n}.{{p}}", f"{o}.{{p}}") for n, o in (("y", "z"), ("x", "x"), ("out", "out"))),
        _lru("conv_1d.weight", "x_conv.taps", Reshaped((-1, 1, -1))),
        _lru("conv_1d.bias", "x_conv.bias"),
        _lru("rg_lru.recurrent_param", "decay"),
        *(_lru(f"rg_lru.{n}_gate_weight", f"{o}_gate.weight") for n, o in (("input", "input"), ("recurrent", "recurrence"))),
        *(_lru(f"rg_lru.{n}_gate_bias", f"{o}_bias") for n, o in (("input", "input"), ("recurrent", "recurrence"))),
        *(Rule(str(r.theirs).replace("self_attn", "temporal_block"), r.ours) for r in ATTENTION),
        *in_each("model.layers.{i}.", NAMES),
    ),
    free=frozenset(("w_init_variance_scale", "final_w_init_variance_scale", "head_dim")),
    prefix="model.",
    copies={"lm_head.weight": "model.embed_tokens.weight"},
)
