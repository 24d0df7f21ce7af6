"""The score of a turned query and key depends on the distance between them.

Su et al. 2021 (RoFormer), arXiv:2104.09864
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat, Probability
from components.core.sockets import Maker, SequenceInfo, infos_of, make
from components.functional.rotary import Tables, rotate, tables


@register("position", "rope")
class RotaryPosition(nn.Module):
    """Rotary positions: queries and keys are turned by an angle that grows with the position.

    Args:
        base: channel pair i turns by position / base^(2i / rotated width).
        fraction: share of the channels that turn, from the first; rounded down to an even number.
        layout: which channels are a pair: neighbours (``interleaved``) or first and second half (``half``). Checkpoints fix it.
        scaling: stretches the frequencies beyond the length they were trained on.

    Errors: ValueError if no pair is left to turn.
    """

    needs = {"attention": ("rotates",)}

    def __init__(
        self,
        head_dim: int,
        context_length: int | None = None,
        *,
        base: PositiveFloat = 10000.0,
        fraction: Probability = 1.0,
        layout: Literal["interleaved", "half"] = "interleaved",
        scaling: Maker["scaling"] = "none",
    ) -> None:
        super().__init__()
        self.width = int(head_dim * fraction) // 2 * 2
        if self.width == 0:
            raise ValueError(f"nothing to rotate: head_dim={head_dim} and fraction={fraction} leave no pair of channels")
        self.base, self.layout = base, layout
        sizes = {"width": self.width, "base": base, **({} if context_length is None else {"context_length": context_length})}
        self.scaling = make(scaling, "scaling", **sizes)
        self.scaled = not self.scaling.identity

    def frequencies(self, device: torch.device) -> Tensor:
        """(R/2,) angle per position, fp32."""
        even = torch.arange(0, self.width, 2, device=device, dtype=torch.float32)
        return self.base ** (-even / self.width)

    def _tables(self, info: SequenceInfo) -> Tables:
        positions = info.placed()

        def compute() -> Tables:
            frequencies = self.frequencies(positions.device)
            if not self.scaled:
                return tables(positions, frequencies, self.layout)
            # two parts of one name may differ in options and depend on nothing else: the memo is keyed by the module
            turned = tables(positions, self.scaling.scale(frequencies, info), self.layout)
            return tuple(t * self.scaling.factor for t in turned)

        key = ("rope", self.width, self.base, self.layout, id(self.scaling) if self.scaled else None)
        return info.once(key, compute)

    def rotate(
        self, q: Tensor, k: Tensor, q_info: SequenceInfo | None = None, k_info: SequenceInfo | None = None
    ) -> tuple[Tensor, Tensor]:
        """q (B, H, Tq, K) and k (B, G, Tk, K), each at its own positions."""
        q_info, k_info = infos_of(q, k, q_info, k_info)
        return rotate(q, self._tables(q_info), self.layout), rotate(k, self._tables(k_info), self.layout)
