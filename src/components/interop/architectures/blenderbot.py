"""Blenderbot (Roller et al. 2020, arXiv:2004.13637): norms before the branches, and none of the embedding."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._bart import COMMON, FINAL_NORMS, LEARNED, PRE_NORM, fields, tensors

ARCHITECTURE = Architecture(
    names=("BlenderbotForConditionalGeneration",),
    model_type="blenderbot",
    base={"model": {**PRE_NORM, "position": "learned"}, "loss": "seq2seq"},
    fields=fields(8008, pre_norm=True),
    tensors=(*tensors(), *LEARNED, *FINAL_NORMS),
    **{**COMMON, "free": COMMON["free"] | {"encoder_no_repeat_ngram_size"}},
)
