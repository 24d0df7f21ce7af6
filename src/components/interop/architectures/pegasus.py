"""Pegasus (Zhang et al. 2019, arXiv:1912.08777): norms before the branches, sinusoidal positions as Marian has them, and no norm of the embedding."""

from __future__ import annotations

import torch
from torch import Tensor

from components.interop.architecture import Architecture
from components.interop.architectures._bart import COMMON, FINAL_NORMS, PRE_NORM, SINUSOIDS, fields, tensors
from components.interop.architectures._common import unused
from components.interop.fields import Get


def _waves(get: Get) -> Tensor:
    """The table that the class saves, all sines before all cosines, in fp32 as it rounds them from fp64."""
    rows, width = get("model.context_length"), get("model.d_model")
    places, even = torch.arange(rows, dtype=torch.float64), torch.arange(0, width, 2, dtype=torch.float64)
    phase = places[:, None] / 10000 ** (even / width)
    return torch.cat([phase.sin(), phase.cos()], -1).float()


ARCHITECTURE = Architecture(
    names=("PegasusForConditionalGeneration",),
    model_type="pegasus",
    base={"model": {**PRE_NORM, "position": {"name": "sinusoidal", "layout": "half"}}, "loss": "seq2seq"},
    fields=(
        *fields(50265, pre_norm=True),
        unused("normalize_embedding", False),
        unused("static_position_embeddings", True),
    ),
    tensors=(*tensors(), *FINAL_NORMS),
    computed=dict.fromkeys(SINUSOIDS, _waves),
    **COMMON,
)
