"""Slowly turning pairs decay less than fast ones.

Sun et al. 2022 (length-extrapolatable transformer), arXiv:2212.10554, eqs. 9-12
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import SequenceInfo, infos_of
from components.functional.rotary import Tables, rotate, tables


@register("position", "xpos")
class XPos(nn.Module):
    """xPos: rotary positions whose scores also decay with the distance; for causal models.

    Args:
        base: channel pair i turns by position / base^(2i / head_dim).
        gamma: pair i of queries grows by ((2i / head_dim + gamma) / (1 + gamma))^(position / scale_base), of keys by its inverse.
        scale_base: positions after which the decay has happened once.
        layout: which channels are a pair: neighbours (``interleaved``) or first and second half (``half``).

    Positions are counted from 0, not from the middle as in the authors' code, so that cached keys stay as they are: scores are the same, and
    fp32 holds their factors up to about 65 scale_base positions. Errors: ValueError if head_dim is odd.
    """

    needs = {"attention": ("rotates",)}
    sets_lengths = True  # a norm after the rotation would undo the decay

    def __init__(
        self,
        head_dim: int,
        *,
        base: PositiveFloat = 10000.0,
        gamma: PositiveFloat = 0.4,
        scale_base: PositiveFloat = 512.0,
        layout: Literal["interleaved", "half"] = "interleaved",
    ) -> None:
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"xpos turns pairs of channels: head_dim={head_dim} is odd")
        self.width, self.base, self.gamma, self.scale_base, self.layout = head_dim, base, gamma, scale_base, layout

    def _tables(self, info: SequenceInfo, sign: int) -> Tables:
        positions = info.placed()

        def compute() -> Tables:
            pair = torch.arange(0, self.width, 2, device=positions.device, dtype=torch.float32) / self.width
            power = positions[:, None, :, None].float() * (sign / self.scale_base)
            grown = ((pair + self.gamma) / (1 + self.gamma)) ** power  # (B or 1, 1, T, K/2)
            grown = torch.cat((grown, grown), -1) if self.layout == "half" else grown
            return tuple(t * grown for t in tables(positions, self.base**-pair, self.layout))

        return info.once(("xpos", self.width, self.base, self.gamma, self.scale_base, self.layout, sign), compute)

    def rotate(
        self, q: Tensor, k: Tensor, q_info: SequenceInfo | None = None, k_info: SequenceInfo | None = None
    ) -> tuple[Tensor, Tensor]:
        """q (B, H, Tq, K) and k (B, G, Tk, K), each at its own positions."""
        q_info, k_info = infos_of(q, k, q_info, k_info)
        return rotate(q, self._tables(q_info, 1), self.layout), rotate(k, self._tables(k_info, -1), self.layout)
