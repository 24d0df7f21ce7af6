"""Granite 3, dense (IBM 2024): Llama's parts with four multipliers, of embeddings, scores, branches and logits."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import HEAD_DIM, TIED, decoder_sizes, rope
from components.interop.architectures._granite import MULTIPLIERS
from components.interop.architectures._llama import BASE, BIAS, DROPOUT, FILES, SILU, TENSORS
from components.interop.fields import Same

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
