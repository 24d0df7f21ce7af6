"""Mamba-2 (Dao & Gu 2024, arXiv:2405.21060), as Codestral Mamba has it.

It does not say how long its texts were; a file may say it in max_position_embeddings, which no number depends on.
"""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import stack, tied
from components.interop.architectures._mamba import limit_of, mixer2
from components.interop.fields import Constant, Custom, Fields, Get, Options, Same, Theirs, Unsupported, value_of


def _read_width(config: Theirs) -> Options:
    expand, heads, width = (value_of(config, n, d) for n, d in (("expand", 2), ("num_heads", 128), ("head_dim", 64)))
    if expand * config["hidden_size"] != heads * width:
        raise Unsupported(f"head_dim={width}: {heads} heads have to be {expand * config['hidden_size']} wide together")
    return {"model.attention.expand": float(expand), "model.attention.n_heads": heads}


def _write_width(get: Get) -> Fields:
    expand, heads = get("model.attention.expand"), get("model.attention.n_heads")
    return {"expand": max(int(expand), 1), "num_heads": heads, "head_dim": round(expand * get("model.d_model")) // heads}


def _read_limit(config: Theirs) -> Options:
    return {"model.attention.dt_limit": limit_of(config)}


def _write_limit(get: Get) -> Fields:
    limit = get("model.attention.dt_limit")
    return {} if limit is None else {"time_step_limit": list(limit)}


ARCHITECTURE = Architecture(
    names=("Mamba2ForCausalLM",),
    model_type="mamba2",
    base={
        "model": {
            **{"name": "decoder", "position": "none", "norm": "rms", "block": "pre_norm", "ffn": "none"},
            "attention": {"name": "mamba2", "output_norm": {"name": "rms"}},
        }
    },
    fields=(
        Same("vocab_size", "vocab_size", 32768),
        Same("hidden_size", "model.d_model", 4096),
        Same("num_hidden_layers", "model.n_layers", 64),
        Same("max_position_embeddings", "model.context_length", 2048),
        Same("layer_norm_epsilon", ("model.norm.eps", "model.attention.output_norm.eps"), 1e-5),
        Same("state_size", "model.attention.state_size", 128),
        Same("n_groups", "model.attention.n_groups", 8),
        Same("conv_kernel", "model.attention.conv_size", 4),
        Same("use_conv_bias", "model.attention.conv_bias", True),
        Same("use_bias", "model.attention.bias", False),
        Same("time_step_min", "model.attention.dt_min", 0.001),
        Same("time_step_max", "model.attention.dt_max", 0.1),
        Custom(("expand", "num_heads", "head_dim"), _read_width, _write_width),
        Custom(("time_step_limit",), _read_limit, _write_limit),
        Constant("hidden_act", "silu"),
        tied(False),
    ),
    tensors=(
        Rule("backbone.embeddings.weight", "embedding.table.weight"),
        Rule("backbone.layers.{i}.norm.weight", stack("attention_norm.weight")),
        *mixer2("backbone.layers.{i}.mixer"),
        Rule("backbone.norm_f.weight", "stack.final_norm.weight"),
        Rule("lm_head.weight", "head.logits.weight"),
    ),
    # how it was drawn, in what pieces it is computed, in which dtype sums are kept, and what the class does not read
    free=frozenset(
        (
            *("time_step_floor", "time_step_rank", "time_step_init_scheme", "time_step_scale", "rescale_prenorm_residual"),
            *("chunk_size", "residual_in_fp32", "rms_norm", "norm_before_gate", "intermediate_size"),
        )
    ),
    prefix="backbone.",
    copies={"lm_head.weight": "backbone.embeddings.weight"},
)
