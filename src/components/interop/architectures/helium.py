"""Helium (Kyutai 2025): Llama that turns neighbouring channels."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import TIED, decoder_sizes, head_dim, rope
from components.interop.architectures._llama import BASE, DROPOUT, FILES, KV_HEADS, MLP_BIAS, QKV_BIAS, SILU, TENSORS
from components.interop.fields import Same

ARCHITECTURE = Architecture(
    names=("HeliumForCausalLM",),
    model_type="helium",
    base={"model": {**BASE["model"], "position": {"name": "rope", "layout": "interleaved"}}},
    fields=(
        *decoder_sizes(),
        *(KV_HEADS, head_dim(128), SILU, QKV_BIAS, MLP_BIAS, DROPOUT, TIED, rope(1e5, partial=False)),
        Same("rms_norm_eps", "model.norm.eps", 1e-8),
    ),
    tensors=TENSORS,
    **FILES,
)
