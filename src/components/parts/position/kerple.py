"""Chi et al. 2022, arXiv:2205.09921, eqs. 3 and 4"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo, infos_of
from components.functional.precision import at_least_fp32
from components.parts.position._distances import distances


@register("position", "kerple")
class Kerple(nn.Module):
    """KERPLE: a penalty on scores that grows with the logarithm or a power of the distance, learned per head.

    Args:
        kernel: -a ln(1 + b distance) (``log``), or -a distance^b with b up to 2 (``power``).

    a and b are kept positive by a softplus, or below 2 by a sigmoid; the paper clamps them. They start evenly spaced over the heads: a within
    (0, 2) and b = 0.5 for ``log``, a within (0, 1) and b = 1 for ``power``, where the paper draws them.
    """

    needs = {"attention": ("biases",)}
    axes = {"slope": ("heads",), "shape": ("heads",)}

    def __init__(self, n_heads: int, *, kernel: Literal["log", "power"] = "log") -> None:
        super().__init__()
        self.kernel = kernel
        self.splits = {"heads": n_heads}
        self.slope, self.shape = nn.Parameter(torch.empty(n_heads)), nn.Parameter(torch.empty(n_heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        with torch.no_grad():
            a = (torch.arange(len(self.slope)) + 0.5) / len(self.slope) * (2 if self.kernel == "log" else 1)
            self.slope.copy_(a.expm1().log())  # softplus of it is a
            self.shape.fill_(math.log(math.expm1(0.5)) if self.kernel == "log" else 0.0)

    def bias(self, q: Tensor, k: Tensor, q_info: SequenceInfo | None = None, k_info: SequenceInfo | None = None) -> Tensor:
        q_info, k_info = infos_of(q, k, q_info, k_info)
        slope, shape = (at_least_fp32(p)[:, None, None] for p in (self.slope, self.shape))
        distance = distances(q_info, k_info).abs()[:, None].to(slope.dtype)
        if self.kernel == "log":
            return -F.softplus(slope) * torch.log1p(F.softplus(shape) * distance)
        # 0^b has no derivative by b: distance 0 is replaced before and its power after
        power = torch.where(distance > 0, distance.clamp(min=1) ** (2 * torch.sigmoid(shape)), 0.0)
        return -F.softplus(slope) * power
