"""Gemma 2 (Gemma Team 2024, arXiv:2408.00118): norms around every branch, a window on every other layer, soft caps on scores and logits."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import rope
from components.interop.architectures._gemma import FIELDS, SANDWICH, TENSORS
from components.interop.architectures._llama import FILES
from components.interop.architectures._windows import by_layer, every
from components.interop.fields import Same

ARCHITECTURE = Architecture(
    names=("Gemma2ForCausalLM",),
    model_type="gemma2",
    base=SANDWICH,
    fields=(
        *FIELDS,
        rope(partial=False),
        by_layer(every(2), 4096, "sliding_window_size"),
        Same("attn_logit_softcapping", "model.attention.soft_cap", 50.0),
    ),
    tensors=TENSORS,
    free=frozenset(("cache_implementation",)),
    **FILES,
)
