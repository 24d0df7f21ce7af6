"""Qwen2 and 2.5 (Yang et al. 2024, arXiv:2407.10671, 2412.15115): Llama's parts, biases on queries, keys and values, windows if asked for."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import HEAD_DIM
from components.interop.architectures._llama import BASE, FILES, TENSORS
from components.interop.architectures._qwen import FIELDS

ARCHITECTURE = Architecture(
    names=("Qwen2ForCausalLM",),
    model_type="qwen2",
    base={"model": {**BASE["model"], "attention": {"name": "gqa", "bias": ["q", "k", "v"]}}},
    fields=(*FIELDS, HEAD_DIM),
    tensors=TENSORS,
    **FILES,
)
