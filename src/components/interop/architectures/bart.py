"""BART (Lewis et al. 2019, arXiv:1910.13461): post-norm layers on both sides, learned positions whose table begins with two unused rows."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._bart import BASE, COMMON, EMBEDDING_NORMS, LEARNED, fields, tensors
from components.interop.architectures._common import unused

ARCHITECTURE = Architecture(
    names=("BartForConditionalGeneration", "BartModel"),
    model_type="bart",
    base={
        "model": {**BASE, "position": {"name": "learned", "offset": 2}, "embedding_norm": "inherit"},
        "loss": "seq2seq",
    },
    fields=(*fields(50265), unused("normalize_embedding", True), unused("static_position_embeddings", False)),
    tensors=(*tensors(), *LEARNED, *EMBEDDING_NORMS),
    **COMMON,
)
