"""Llama 1 to 3.2 (Touvron et al. 2023, arXiv:2302.13971, 2307.09288; Dubey et al. 2024, arXiv:2407.21783), and what its kin share."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import HEAD_DIM, TIED, decoder_sizes, rope
from components.interop.architectures._llama import BASE, BIAS, DROPOUT, FILES, SILU, TENSORS
from components.interop.fields import Same

ARCHITECTURE = Architecture(
    names=("LlamaForCausalLM",),
    model_type="llama",
    base=BASE,
    fields=(
        *decoder_sizes(),
        Same("num_key_value_heads", "model.attention.n_kv_heads", None),
        HEAD_DIM,
        rope(partial=False),
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
