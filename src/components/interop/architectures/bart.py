"""BART (Lewis et al. 2019, arXiv:1910.13461): post-norm layers on both sides, learned positions whose table begins with two unused rows."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._bart import BASE, COMMON, fields, tensors
from components.interop.architectures._common import unused

ARCHITECTURE = Architecture(
    names=("BartForConditionalGeneration", "BartModel"),
    model_type="bart",
    base={
        "model": {**BASE, "position": {"name": "learned", "offset": 2}, "embedding_norm": "inherit"},
        "loss": "seq2seq",
    },
    fields=(*fields(50265), unused("normalize_embedding", True), unused("static_position_embeddings", False)),
    tensors=(
        *tensors(),
        *(Rule(f"model.{s}.embed_positions.weight", f"{s}.positions.0.table.weight") for s in ("encoder", "decoder")),
        *(Rule(f"model.{s}.layernorm_embedding.{{p}}", f"{s}.embedding_norm.{{p}}") for s in ("encoder", "decoder")),
    ),
    **COMMON,
)
