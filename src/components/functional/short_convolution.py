"""Short causal convolution: every channel is a weighted sum of its own last few values, within the document and without padding.

Dao et al. 2022 (H3), arXiv:2212.14052; Gu & Dao 2023 (Mamba), arXiv:2312.00752
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from components.core.sockets import SequenceInfo
from components.core.weights import copy_full
from components.functional.earlier import earlier


class ShortConvolution(nn.Module):
    """Weights of a causal convolution of each channel by itself; ``taps`` (C, W), the newest position last, as a depthwise ``nn.Conv1d`` has them.

    First values: spread evenly over +- 1 / sqrt(W) as ``nn.Conv1d`` draws them, but without chance, by a sequence of low discrepancy.
    """

    def __init__(self, channels: int, width: int, bias: bool = False) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.empty(channels, width))
        self.bias = nn.Parameter(torch.empty(channels)) if bias else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        channels, width = self.taps.shape
        root = 1.5  # root^(W + 1) = root + 1, whose powers are the steps of Roberts' sequence
        for _ in range(64):
            root = (1.0 + root) ** (1.0 / (width + 1))
        steps = torch.tensor([root ** -(n + 1) for n in range(width)], dtype=torch.float64, device="cpu")
        spread = (torch.arange(1, channels + 1, dtype=torch.float64, device="cpu")[:, None] * steps + 0.5) % 1.0
        copy_full(self.taps, (2.0 * spread - 1.0) / width**0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def short_convolutions(
    xs: Sequence[Tensor], maps: Sequence[ShortConvolution], info: SequenceInfo, state: dict[str, Any] | None
) -> list[Tensor]:
    """Each x (B, T, C) by its own convolution, all in one pass; ``state`` of the cache's slot keeps what the next call needs."""
    x = torch.cat(list(xs), -1)
    taps = torch.cat([m.taps for m in maps])
    before = earlier(x, info, taps.shape[1] - 1, state)
    y = x * taps[:, -1]
    for n, shifted in enumerate(before, 2):
        y = torch.addcmul(y, shifted, taps[:, -n])
    biases: list[Tensor] = [m.bias for m in maps if m.bias is not None]
    y = y + torch.cat(biases) if biases else y
    return list(y.split([z.shape[-1] for z in xs], -1))
