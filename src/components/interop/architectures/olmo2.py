"""OLMo 2 (Team OLMo 2024, arXiv:2501.00656): norms on what a branch gives alone, queries and keys normed over all heads together."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import rope
from components.interop.architectures._llama import FILES
from components.interop.architectures._olmo import NORMED, NORMED_FIELDS, NORMED_TENSORS

ARCHITECTURE = Architecture(
    names=("Olmo2ForCausalLM",),
    model_type="olmo2",
    base=NORMED,
    fields=(*NORMED_FIELDS, rope(partial=False)),
    tensors=NORMED_TENSORS,
    **FILES,
)
