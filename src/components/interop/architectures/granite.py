"""Granite 3, dense (IBM 2024): Llama's parts with four multipliers, of embeddings, scores, branches and logits."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import HEAD_DIM, TIED, decoder_sizes, rope
from components.interop.architectures.llama import BASE, BIAS, DROPOUT, FILES, SILU, TENSORS
from components.interop.fields import Custom, Fields, Get, Options, Same, Theirs, value_of


def _read(config: Theirs) -> Options:
    return {"model.head.multiplier": 1 / value_of(config, "logits_scaling", 1.0)}


def _write(get: Get) -> Fields:
    divisor = 1 / get("model.head.multiplier")
    return {"logits_scaling": rounded if 1 / (rounded := round(divisor, 6)) == get("model.head.multiplier") else divisor}


MULTIPLIERS = (
    Same("embedding_multiplier", "model.embedding.scale", 1.0),
    Same("attention_multiplier", "model.attention.scale", 1.0),
    Same("residual_multiplier", "model.residual.scale", 1.0),
    Custom(("logits_scaling",), _read, _write),
)
ARCHITECTURE = Architecture(
    names=("GraniteForCausalLM",),
    model_type="granite",
    base={"model": {**BASE["model"], "residual": "scaled"}},
    fields=(
        *decoder_sizes(),
        Same("num_key_value_heads", "model.attention.n_kv_heads", None),
        HEAD_DIM,
        rope(partial=False),
        *MULTIPLIERS,
        Same("rms_norm_eps", "model.norm.eps", 1e-6),
        SILU,
        BIAS,
        Same("mlp_bias", "model.ffn.bias", False),
        DROPOUT,
        TIED,
    ),
    tensors=TENSORS,
    **FILES,
)
