"""Falcon-H1 (Zuo et al. 2025, arXiv:2507.22448): attention and Mamba-2 side by side in every layer, and a constant on nearly every branch.

The constant on keys is a factor on scores here.
"""

from __future__ import annotations

import math

from components.interop.architecture import Architecture
from components.interop.architectures._common import TIED, decoder_sizes, in_each, rope
from components.interop.architectures._llama import BASE, FILES, MLP_BIAS, SILU
from components.interop.architectures._mamba import AROUND, limit_of, mixer2
from components.interop.architectures._moe import PROJECTIONS
from components.interop.fields import Custom, Fields, Get, Mapped, Options, Same, Theirs, Unsupported, value_of

HYBRID, ATTENTION, MAMBA = (f"model.attention{part}" for part in ("", ".attention_mixer", ".recurrent_mixer"))
OURS = "attention.attention_mixer"
SIZES = (
    Same("mamba_n_heads", f"{MAMBA}.n_heads", 128),
    Same("mamba_d_state", f"{MAMBA}.state_size", 256),
    Same("mamba_n_groups", f"{MAMBA}.n_groups", 1),
    Same("mamba_d_conv", f"{MAMBA}.conv_size", 4),
    Same("mamba_conv_bias", f"{MAMBA}.conv_bias", True),
    Same("mamba_norm_before_gate", f"{MAMBA}.norm_before_gate", True),
)
MULTIPLIERS = (
    Same("embedding_multiplier", "model.embedding.scale", 1.0),
    Same("lm_head_multiplier", "model.head.multiplier", 1.0),
    Same("attention_in_multiplier", f"{HYBRID}.attention_in", 1.0),
    Same("attention_out_multiplier", f"{HYBRID}.attention_out", 1.0),
    Same("ssm_in_multiplier", f"{HYBRID}.recurrent_in", 1.0),
    Same("ssm_out_multiplier", f"{HYBRID}.recurrent_out", 1.0),
)


def _read_lists(config: Theirs) -> Options:
    of_ffn, of_ssm = (config.get(f"{part}_multipliers") or [1.0] * n for part, n in (("mlp", 2), ("ssm", 5)))
    return {
        "model.ffn.gate_multiplier": of_ffn[0],
        "model.ffn.out_multiplier": of_ffn[1],
        f"{MAMBA}.multipliers": None if set(of_ssm) == {1.0} else list(of_ssm),
    }


def _write_lists(get: Get) -> Fields:
    of_ffn = [get(f"model.ffn.{name}_multiplier") for name in ("gate", "out")]
    return {"mlp_multipliers": of_ffn, "ssm_multipliers": list(get(f"{MAMBA}.multipliers") or [1.0] * 5)}


def _read_heads(config: Theirs) -> Options:
    width, factor = config.get("head_dim"), value_of(config, "key_multiplier", 1.0)
    own = width or config["hidden_size"] // config["num_attention_heads"]
    return {f"{ATTENTION}.head_dim": width, f"{ATTENTION}.scale": None if factor == 1.0 else factor * own**-0.5}


def _write_heads(get: Get) -> Fields:
    width, scale = get(f"{ATTENTION}.head_dim"), get(f"{ATTENTION}.scale")
    own = width or get("model.d_model") // get(f"{ATTENTION}.n_heads")
    factor = 1.0 if scale is None else scale * own**0.5
    near = (math.nextafter(factor, towards) for towards in (0.0, math.inf))
    # rounded, or one number farther, where this gives the same factor on scores
    exact = (f for f in (round(factor, 9), factor, *near) if f * own**-0.5 == scale)
    return {"key_multiplier": next(exact, factor), **({} if width is None else {"head_dim": width})}


def _read_width(config: Theirs) -> Options:
    """Of the Mamba-2: all heads together, whatever the expansion says, if it is given."""
    width, heads, each = (
        value_of(config, "mamba_d_ssm", 1024),
        value_of(config, "mamba_n_heads", 128),
        config.get("mamba_d_head"),
    )
    width = value_of(config, "mamba_expand", 2) * config["hidden_size"] if width is None else width
    if each not in (None, "auto") and each * heads != width:
        raise Unsupported(f"mamba_d_head={each}: {heads} heads have to be {width} wide together")
    if limit_of(config) is not None:
        raise Unsupported(f"time_step_limit={config['time_step_limit']!r}: only from 0 without end is supported")
    return {f"{MAMBA}.expand": width / config["hidden_size"]}


def _write_width(get: Get) -> Fields:
    width = round(get(f"{MAMBA}.expand") * get("model.d_model"))
    return {"mamba_d_ssm": width, "mamba_d_head": width // get(f"{MAMBA}.n_heads")}


def _read_norm(config: Theirs) -> Options:
    eps = value_of(config, "rms_norm_eps", 1e-5)
    normed = value_of(config, "mamba_rms_norm", False)
    return {"model.norm.eps": eps, f"{MAMBA}.output_norm": {"name": "rms", "eps": eps} if normed else "none"}


def _write_norm(get: Get) -> Fields:
    normed = get(f"{MAMBA}.output_norm.name") or get(f"{MAMBA}.output_norm")
    return {"rms_norm_eps": get("model.norm.eps"), "mamba_rms_norm": normed != "none"}


def _read_bias(config: Theirs) -> Options:
    into, out = (value_of(config, name, False) for name in ("mamba_proj_bias", "projectors_bias"))
    if into != out:
        raise Unsupported(f"mamba_proj_bias={into}, projectors_bias={out}: both projections of a Mamba-2 have one, or neither")
    return {f"{MAMBA}.bias": into}


def _write_bias(get: Get) -> Fields:
    return dict.fromkeys(("mamba_proj_bias", "projectors_bias"), get(f"{MAMBA}.bias"))


ARCHITECTURE = Architecture(
    names=("FalconH1ForCausalLM",),
    model_type="falcon_h1",
    base={
        "model": {
            **BASE["model"],
            "attention": {"name": "parallel_hybrid", "attention_mixer": "gqa", "recurrent_mixer": "mamba2"},
            "ffn": {"name": "multiplied_glu", "activation": "silu"},
        }
    },
    fields=(
        *(f for f in decoder_sizes() if f.names not in (("num_attention_heads",), ("max_position_embeddings",))),
        Same("max_position_embeddings", "model.context_length", 8192),
        Same("num_attention_heads", f"{ATTENTION}.n_heads", 32),
        Same("num_key_value_heads", f"{ATTENTION}.n_kv_heads", 8),
        Mapped("attention_bias", f"{ATTENTION}.bias", {False: [], True: ["q", "k", "v", "out"]}, False),
        Same("attention_dropout", f"{ATTENTION}.dropout", 0.0),
        *(rope(partial=False), MLP_BIAS, SILU, TIED),
        *(*SIZES, *MULTIPLIERS),
        Custom(("mlp_multipliers", "ssm_multipliers"), _read_lists, _write_lists),
        Custom(("head_dim", "key_multiplier"), _read_heads, _write_heads),
        Custom(("mamba_d_ssm", "mamba_expand", "mamba_d_head", "time_step_limit"), _read_width, _write_width),
        Custom(("rms_norm_eps", "mamba_rms_norm"), _read_norm, _write_norm),
        Custom(("mamba_proj_bias", "projectors_bias"), _read_bias, _write_bias),
    ),
    tensors=(
        *AROUND,
        *mixer2("model.layers.{i}.mamba", "attention.recurrent_mixer", "parallel_hybrid"),
        *in_each("model.layers.{i}.self_attn.", {f"{n}_proj": f"{OURS}.{m}" for n, m in zip("qkvo", ("q", "k", "v", "out"))}),
        *in_each("model.layers.{i}.feed_forward.", {theirs: f"ffn.{ours}" for theirs, ours in PROJECTIONS}),
    ),
    free=frozenset(
        ("mamba_chunk_size", "num_logits_to_keep", "attn_layer_indices", "mamba_use_mlp", "layer_types", "layers_block_type")
    ),
    **FILES,
)
