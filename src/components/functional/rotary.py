"""Rotation of pairs of channels by an angle that grows with the position. Su et al. 2021 (RoFormer), arXiv:2104.09864, eq. 34.

Two layouts, permutations of one another: ``interleaved`` pairs channels (0, 1), (2, 3), ...; ``half`` pairs (0, K/2), (1, K/2 + 1), ...
On a CPU the interleaved pairs are complex numbers in memory, and one complex product is 2-4 times faster than the real form.
"""

from __future__ import annotations

import torch
from torch import Tensor


def angles(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of position x frequency in fp32: (B, T) and (R/2,) -> two (B, 1, T, R/2), broadcasting over heads."""
    with torch.autocast(positions.device.type, enabled=False):
        phase = positions[:, None, :, None].float() * frequencies.float()
        return phase.cos(), phase.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor, layout: str) -> Tensor:
    """Rotate the first 2 * R/2 channels of x (B, H, T, K) in fp32; the other channels pass. Keeps shape and dtype."""
    width = 2 * cos.shape[-1]
    turned, rest = x[..., :width], x[..., width:]
    if layout == "interleaved" and x.device.type == "cpu" and not torch.compiler.is_compiling():
        # heads are a transposed view of (B, T, H, K): its last axis is contiguous, which is all that a complex view needs
        pairs = torch.view_as_complex(_precise(turned).unflatten(-1, (-1, 2)))
        turned = torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2).to(x.dtype)
    else:
        turned = rotate_reference(turned, cos, sin, layout)
    return torch.cat((turned, rest), -1) if rest.shape[-1] else turned


def rotate_reference(x: Tensor, cos: Tensor, sin: Tensor, layout: str) -> Tensor:
    """The formula as written: (a, b) -> (a cos - b sin, a sin + b cos) for each pair."""
    y = _precise(x)
    if layout == "interleaved":
        a, b = y[..., 0::2], y[..., 1::2]
        return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)
    a, b = y.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1).to(x.dtype)


def _precise(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
