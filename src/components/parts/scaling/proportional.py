"""Gemma 4 (transformers' ``proportional``). Unlike ``rope.fraction``, which spaces frequencies over the turning channels and pairs them alone"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat, Probability
from components.core.sockets import SequenceInfo


@register("scaling", "proportional")
class ProportionalScaling(nn.Module):
    """Proportional rotation: only the fastest pairs turn, spaced as if all did, and the slow ones stand still.

    Args:
        fraction: share of the pairs that turn, rounded down (0.25 in Gemma 4's global layers).
        divisor: what their frequencies are divided by.
    """

    factor = 1.0

    def __init__(self, width: int, *, fraction: Probability = 1.0, divisor: PositiveFloat = 1.0) -> None:
        super().__init__()
        self.turning, self.divisor = int(fraction * width // 2), divisor

    def scale(self, frequencies: Tensor, info: SequenceInfo) -> Tensor:  # noqa: ARG002  the contract's arguments
        pair = torch.arange(frequencies.shape[0], device=frequencies.device)
        return torch.where(pair < self.turning, frequencies / self.divisor, torch.zeros_like(frequencies))
