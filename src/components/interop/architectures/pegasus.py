"""Pegasus (Zhang et al. 2019, arXiv:1912.08777): Marian's sinusoids, with norms before the branches and one at the end of each side."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._bart import COMMON, FINAL_NORMS, PRE_NORM, fields, tensors

ARCHITECTURE = Architecture(
    names=("PegasusForConditionalGeneration",),
    model_type="pegasus",
    base={"model": {**PRE_NORM, "position": {"name": "sinusoidal", "layout": "half"}}, "loss": "seq2seq"},
    fields=fields(50265),
    tensors=(*tensors(), *FINAL_NORMS),
    ignored=("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"),
    **COMMON,
)
