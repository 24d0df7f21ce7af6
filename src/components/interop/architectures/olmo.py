"""OLMo 1 (Groeneveld et al. 2024, arXiv:2402.00838): Llama's parts with layer norms that learn nothing, and clipped projections if asked for."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import HEAD_DIM, TIED, decoder_sizes, rope
from components.interop.architectures.llama import BASE, BIAS, DROPOUT, FILES, SILU, TENSORS
from components.interop.fields import Same

FIELDS = (
    *decoder_sizes(),
    Same("num_key_value_heads", "model.attention.n_kv_heads", None),
    HEAD_DIM,
    SILU,
    BIAS,
    DROPOUT,
    TIED,
)
ARCHITECTURE = Architecture(
    names=("OlmoForCausalLM",),
    model_type="olmo",
    base={"model": {**BASE["model"], "norm": {"name": "layer", "eps": 1e-5, "scale": "none", "bias": False}}},
    fields=(*FIELDS, rope(partial=False), Same("clip_qkv", "model.attention.clip", None)),
    tensors=TENSORS,
    **FILES,
)
