"""Youtu-LLM (Tencent 2025): DeepSeek-V3's latent attention without experts."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import GLU, rope, tied
from components.interop.architectures._llama import BASE, FILES
from components.interop.architectures._mla import LATENT, LATENT_TENSORS
from components.interop.fields import Mapped, Same

ARCHITECTURE = Architecture(
    names=("YoutuForCausalLM",),
    model_type="youtu",
    base={
        "model": {
            **BASE["model"],
            "position": "rope",
            "attention": {"name": "mla", "latent_norm": {"name": "rms", "eps": 1e-6}},
        }
    },
    fields=(
        *LATENT,
        Same("intermediate_size", "model.ffn.d_ff", 6144),
        *(rope(partial=False), tied(True)),
        Mapped("rope_interleave", "model.position.layout", {True: "interleaved", False: "half"}, True),
    ),
    tensors=(*LATENT_TENSORS, *GLU),
    free=frozenset(("head_dim", "qk_head_dim", "embedding_initializer_range", "mlp_bias")),
    **FILES,
)
