"""Mistral 7B (Jiang et al. 2023, arXiv:2310.06825): Llama's parts and a window on every layer; without the window it is Llama."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import HEAD_DIM, TIED, decoder_sizes, rope
from components.interop.architectures._llama import BASE, DROPOUT, FILES, SILU, TENSORS
from components.interop.architectures._windows import every_layer
from components.interop.fields import Same

ARCHITECTURE = Architecture(
    names=("MistralForCausalLM",),
    model_type="mistral",
    base=BASE,
    fields=(
        *decoder_sizes(),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 8),
        HEAD_DIM,
        rope(partial=False),
        every_layer(4096),
        Same("rms_norm_eps", "model.norm.eps", 1e-6),
        SILU,
        DROPOUT,
        TIED,
    ),
    tensors=TENSORS,
    **FILES,
)
