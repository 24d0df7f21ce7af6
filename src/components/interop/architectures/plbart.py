"""PLBART (Ahmad et al. 2021, arXiv:2103.06333): BART for programs, with a scaled embedding."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._bart import BASE, COMMON, EMBEDDING_NORMS, LEARNED, fields, tensors

ARCHITECTURE = Architecture(
    names=("PLBartForConditionalGeneration",),
    model_type="plbart",
    base={
        "model": {**BASE, "position": {"name": "learned", "offset": 2}, "embedding_norm": "inherit"},
        "loss": "seq2seq",
    },
    fields=fields(50005, scaled=True),
    tensors=(*tensors(), *LEARNED, *EMBEDDING_NORMS),
    **COMMON,
)
