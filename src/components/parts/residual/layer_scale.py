"""Touvron et al. 2021 (CaiT), arXiv:2103.17239"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import NonNegativeFloat, Probability
from components.core.sockets import Place
from components.functional.dropout import dropout_of
from components.parts.residual._stream import OneStream


@register("residual", "layer_scale")
class LayerScale(OneStream):
    """LayerScale: a learned factor per channel, small at first, on the branch's output.

    Args:
        initial: first value of every factor (the paper: 0.1 up to 18 layers, 1e-5 up to 24, 1e-6 beyond).
        dropout: probability of dropping an entry of the branch's output.

    Without a place (the stack's own, which only opens and closes) there is no factor.
    """

    axes = {"scale": ("d_model",)}

    def __init__(
        self, d_model: int, place: Place | None = None, *, initial: NonNegativeFloat = 0.1, dropout: Probability = 0.0
    ) -> None:
        super().__init__()
        self.initial, self.dropout = initial, dropout
        if place is not None:
            self.scale = nn.Parameter(torch.empty(d_model))
            self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in self.parameters(recurse=False):
            nn.init.constant_(parameter, self.initial)

    def write(self, s: Tensor, y: Tensor) -> Tensor:
        return s + self.scale.to(y.dtype) * (dropout_of(y, self.dropout, self.training) if self.dropout else y)
