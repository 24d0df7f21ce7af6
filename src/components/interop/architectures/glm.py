"""GLM-4 of 2024 (Team GLM 2024, arXiv:2406.12793)."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._glm import FIELDS, GLM, TENSORS
from components.interop.architectures._llama import FILES, NORMS

ARCHITECTURE = Architecture(
    names=("GlmForCausalLM",),
    model_type="glm",
    base=GLM,
    fields=FIELDS,
    tensors=(*TENSORS, *NORMS),
    **FILES,
)
