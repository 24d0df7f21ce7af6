"""Longer sequences keep to the angles that were trained.

Chen et al. 2023, arXiv:2306.15595, eq. 4
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import SequenceInfo
from components.parts.scaling._lengths import stretch


@register("scaling", "linear")
class LinearScaling(nn.Module):
    """Position interpolation: all frequencies divided by one factor.

    Args:
        factor: what frequencies are divided by; null: context_length / original_context.
        original_context: positions that the model was trained on; null: context_length, and without a factor nothing is stretched.
    """

    factor = 1.0

    def __init__(
        self,
        context_length: int | None = None,
        *,
        factor: PositiveFloat | None = None,
        original_context: Positive | None = None,
    ) -> None:
        super().__init__()
        self.stretch = factor if factor is not None else stretch(None, original_context, context_length)[0]

    def scale(self, frequencies: Tensor, info: SequenceInfo) -> Tensor:  # noqa: ARG002  the contract's arguments
        return frequencies / self.stretch
