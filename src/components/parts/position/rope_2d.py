"""Fang et al. 2023 (EVA-02), arXiv:2303.11331; Heo et al. 2024 (axial rotary positions), arXiv:2403.13298"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import SequenceInfo, infos_of
from components.functional.rotary import Tables, rotate, tables


@register("position", "rope_2d")
class RotaryPosition2D(nn.Module):
    """Rotary positions on a grid that is written row by row: one half of the channels turns by the row, the other by the column.

    Args:
        width: positions of a row; position p stands in row p // width and column p % width of its document.
        base: pair i of a half turns by its coordinate / base^(4i / head_dim).
        layout: which channels of a half are a pair: neighbours (``interleaved``) or its first and second half (``half``).

    Errors: ValueError if head_dim is not a multiple of 4.
    """

    needs = {"attention": ("rotates",)}

    def __init__(
        self,
        head_dim: int,
        *,
        width: Positive = 16,
        base: PositiveFloat = 10000.0,
        layout: Literal["interleaved", "half"] = "interleaved",
    ) -> None:
        super().__init__()
        if head_dim % 4:
            raise ValueError(f"rows and columns turn pairs of channels each: head_dim={head_dim} is no multiple of 4")
        self.half_dim, self.width, self.base, self.layout = head_dim // 2, width, base, layout

    def _tables(self, info: SequenceInfo) -> tuple[Tables, Tables]:
        positions = info.placed()

        def compute() -> tuple[Tables, Tables]:
            even = torch.arange(0, self.half_dim, 2, device=positions.device, dtype=torch.float32)
            frequencies = self.base ** (-even / self.half_dim)
            rows, columns = (tables(at, frequencies, self.layout) for at in (positions // self.width, positions % self.width))
            return rows, columns

        return info.once(("rope_2d", self.half_dim, self.width, self.base, self.layout), compute)

    def _turn(self, x: Tensor, info: SequenceInfo) -> Tensor:
        rows, columns = self._tables(info)
        return torch.cat(
            (rotate(x[..., : self.half_dim], rows, self.layout), rotate(x[..., self.half_dim :], columns, self.layout)), -1
        )

    def rotate(
        self, q: Tensor, k: Tensor, q_info: SequenceInfo | None = None, k_info: SequenceInfo | None = None
    ) -> tuple[Tensor, Tensor]:
        """q (B, H, Tq, K) and k (B, G, Tk, K), each at its own positions."""
        q_info, k_info = infos_of(q, k, q_info, k_info)
        return self._turn(q, q_info), self._turn(k, k_info)
