"""Qwen3 (Yang et al. 2025, arXiv:2505.09388): Qwen2 without biases, each head's queries and keys normed before they are turned."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import head_dim
from components.interop.architectures._llama import BASE, BIAS, FILES, QK_NORMS, TENSORS
from components.interop.architectures._qwen import FIELDS
from components.interop.fields import Same

ARCHITECTURE = Architecture(
    names=("Qwen3ForCausalLM",),
    model_type="qwen3",
    base={"model": {**BASE["model"], "attention": {"name": "gqa", "qk_norm": "rms"}}},
    fields=(*FIELDS, head_dim(128), Same("rms_norm_eps", "model.attention.qk_norm.eps", 1e-6), BIAS),
    tensors=(*TENSORS, *QK_NORMS),
    **FILES,
)
