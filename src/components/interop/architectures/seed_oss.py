"""Seed-OSS (ByteDance Seed 2025): Llama with biases on queries, keys and values."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import TIED, decoder_sizes, head_dim, rope
from components.interop.architectures._llama import BASE, FILES, KV_HEADS, MLP_BIAS, SILU, TENSORS
from components.interop.fields import Custom, Fields, Get, Options, Same, Theirs


def _read(config: Theirs) -> Options:
    inner = ["q", "k", "v"] if config.get("attention_bias", True) else []
    return {"model.attention.bias": inner + ["out"] * bool(config.get("attention_out_bias"))}


def _write(get: Get) -> Fields:
    bias = get("model.attention.bias")
    return {"attention_bias": "q" in bias, "attention_out_bias": "out" in bias}


ARCHITECTURE = Architecture(
    names=("SeedOssForCausalLM",),
    model_type="seed_oss",
    base=BASE,
    fields=(
        *decoder_sizes(),
        *(KV_HEADS, head_dim(128), SILU, MLP_BIAS, TIED, rope(partial=False)),
        Custom(("attention_bias", "attention_out_bias"), _read, _write),
        Same("attention_dropout", "model.attention.dropout", 0.1),
        Same("residual_dropout", "model.residual.dropout", 0.1),
        Same("rms_norm_eps", "model.norm.eps", 1e-6),
    ),
    tensors=TENSORS,
    **FILES,
)
