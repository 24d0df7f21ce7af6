"""Press et al. 2021, arXiv:2108.12409"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import SequenceInfo, infos_of


@register("position", "alibi")
class ALiBi(nn.Module):
    """ALiBi: a penalty on scores that grows linearly with distance, with a fixed slope per head.

    Args:
        max_slope_exponent: the slopes are 2^(-e i / H') for i = 1 .. H', H' the power of two at or below the number of heads; heads beyond it take
            the slopes in between, as in the paper's code. 8 in the paper.
        factor: multiplies all slopes (Falcon divides its own with the scores, by sqrt(head_dim)).
        rounding: "bfloat16" rounds slope times position, before the difference of two positions is taken, as the code that Falcon was trained with.
    """

    needs = {"attention": ("biases",)}

    def __init__(
        self,
        n_heads: int,
        *,
        max_slope_exponent: PositiveFloat = 8.0,
        factor: PositiveFloat = 1.0,
        rounding: Literal["none", "bfloat16"] = "none",
    ) -> None:
        super().__init__()
        self.n_heads, self.exponent, self.factor, self.rounding = n_heads, max_slope_exponent, factor, rounding

    def slopes(self, device: torch.device | None = None) -> Tensor:
        """(H,) in fp32."""
        return self._of_paper(device) * self.factor

    def _of_paper(self, device: torch.device | None) -> Tensor:
        power = 1 << (self.n_heads.bit_length() - 1)
        first = [2 ** (-self.exponent * i / power) for i in range(1, power + 1)]
        between = [2 ** (-self.exponent * i / (2 * power)) for i in range(1, 2 * power + 1, 2)]
        return torch.tensor((first + between)[: self.n_heads], dtype=torch.float32, device=device)

    def bias(self, q: Tensor, k: Tensor, q_info: SequenceInfo | None = None, k_info: SequenceInfo | None = None) -> Tensor:
        """(B or 1, H, Tq, Tk): -slope times distance. Symmetric where later positions are seen (encoders)."""
        q_info, k_info = infos_of(q, k, q_info, k_info)
        if q_info is k_info:
            key = ("alibi", self.n_heads, self.exponent, self.factor, self.rounding)
            return q_info.once(key, lambda: self._bias(q_info, k_info))
        return self._bias(q_info, k_info)

    def _bias(self, q_info: SequenceInfo, k_info: SequenceInfo) -> Tensor:
        q_at, k_at = q_info.placed(), k_info.placed()
        if self.rounding == "bfloat16":
            slopes = self._of_paper(k_at.device).bfloat16()[None, :, None]
            to, of = ((slopes * i.positions[:, None].bfloat16()).float() for i in (q_info, k_info))  # type: ignore[index]
            return -self.factor * (to[..., :, None] - of[..., None, :]).abs()
        distance = (q_at[:, :, None] - k_at[:, None, :]).abs()
        return -self.slopes(distance.device)[None, :, None, None] * distance[:, None].float()
