"""mBART (Liu et al. 2020, arXiv:2001.08210): BART with norms before the branches and one at the end of each side."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._bart import COMMON, EMBEDDING_NORMS, FINAL_NORMS, LEARNED, PRE_NORM, fields, tensors
from components.interop.architectures._common import unused

ARCHITECTURE = Architecture(
    names=("MBartForConditionalGeneration",),
    model_type="mbart",
    base={
        "model": {**PRE_NORM, "position": {"name": "learned", "offset": 2}, "embedding_norm": "inherit"},
        "loss": "seq2seq",
    },
    fields=(
        *fields(50265, pre_norm=True),
        unused("normalize_embedding", True),
        unused("static_position_embeddings", False),
    ),
    tensors=(*tensors(), *LEARNED, *EMBEDDING_NORMS, *FINAL_NORMS),
    **COMMON,
)
