"""Gemma 1 (Gemma Team 2024, arXiv:2403.08295): norms of 1 + weight, embeddings times sqrt(width), a gated unit bent by tanh's gelu.

The factor is exact, as in the class in fp32. In bf16 the class rounds it, for 7B from 55.4256 to 55.5: ``model.embedding.scale=55.5``.
The class takes ``hidden_act: gelu`` for the approximation by tanh, as the released models mean it, and never reads ``hidden_activation``.
"""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import decoder_sizes, head_dim, rope, tied, unused
from components.interop.architectures._gemma import GELU, GEMMA
from components.interop.architectures._llama import BIAS, DROPOUT, FILES, TENSORS
from components.interop.fields import Mapped, Same

ARCHITECTURE = Architecture(
    names=("GemmaForCausalLM",),
    model_type="gemma",
    base=GEMMA,
    fields=(
        *decoder_sizes(),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 16),
        head_dim(256),
        rope(partial=False),
        Same("rms_norm_eps", "model.norm.eps", 1e-6),
        Mapped("hidden_act", "model.ffn.activation", {**GELU, "gelu": "gelu_tanh"}, "gelu_pytorch_tanh"),
        unused("hidden_activation", *GELU, "gelu"),
        unused("use_bidirectional_attention", False),
        BIAS,
        DROPOUT,
        tied(True),
    ),
    tensors=TENSORS,
    **FILES,
)
