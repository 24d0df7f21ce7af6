"""ERNIE 4.5, dense (Baidu 2025): Llama that turns neighbouring channels, with one field for all biases."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import decoder_sizes, head_dim, rope, tied
from components.interop.architectures._llama import BASE, FILES, KV_HEADS, SILU, TENSORS, biases
from components.interop.fields import Same

ARCHITECTURE = Architecture(
    names=("Ernie4_5ForCausalLM",),
    model_type="ernie4_5",
    base={"model": {**BASE["model"], "position": {"name": "rope", "layout": "interleaved"}}},
    fields=(
        *decoder_sizes(),
        *(KV_HEADS, head_dim(128), SILU, tied(True), rope(5e5, partial=False)),
        biases("use_bias", False),
        Same("rms_norm_eps", "model.norm.eps", 1e-5),
    ),
    tensors=TENSORS,
    **FILES,
)
