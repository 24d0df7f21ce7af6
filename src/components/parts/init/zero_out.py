"""Every branch and the head start at zero, so that the network begins as the identity; hidden matrices by their fan-in.

Zhang et al. 2019 (Fixup), arXiv:1901.09321; Yang et al. 2022 (muP, zero readout), arXiv:2203.03466, appendix D.2
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat
from components.core.weights import MATRICES, Weight, blank


@register("init", "zero_out")
class ZeroOut:
    """Zero-output init: ``out`` and ``head`` matrices 0, hidden ones normal with std gain / sqrt(fan-in).

    Args:
        gain: of hidden matrices.
        embedding_std: of the embedding; a tied head is the embedding.
    """

    def __init__(self, *, gain: NonNegativeFloat = 0.58, embedding_std: NonNegativeFloat = 0.5) -> None:
        self.gain, self.embedding_std = gain, embedding_std

    def __call__(self, weight: Weight, generator: torch.Generator) -> Tensor | None:
        if weight.role not in MATRICES:
            return None
        value = blank(weight, generator)
        if weight.role in ("out", "head"):
            return value.zero_()
        std = self.embedding_std if weight.role == "embedding" else self.gain / weight.fan_in**0.5
        return value.normal_(0.0, std, generator=generator)
