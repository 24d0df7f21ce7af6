"""Rotation of pairs of channels by an angle that grows with the position. Su et al. 2021 (RoFormer), arXiv:2104.09864, eq. 34.

Two layouts, permutations of one another: ``interleaved`` pairs channels (0, 1), (2, 3), ...; ``half`` pairs (0, R/2), (1, R/2 + 1), ...
On a CPU the interleaved pairs are complex numbers in memory, and one complex product is 2-4 times faster than the real form.
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.core.sockets import SequenceInfo
from components.functional.precision import at_least_fp32

Tables = tuple[
    Tensor, ...
]  # (complex factors,) or (factors of a channel, factors of its partner), each (B or 1, 1, T, R/2 or R)


def angles(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of position x frequency in fp32: (B, T) and (R/2,), or (B, 1 or T, R/2), -> two (B, 1, T, R/2), broadcasting over heads."""
    with torch.autocast(positions.device.type, enabled=False):
        rates = frequencies.float() if frequencies.dim() == 1 else frequencies[:, None].float()
        phase = positions[:, None, :, None].float() * rates
        return phase.cos(), phase.sin()


def reach(info: SequenceInfo) -> Tensor:
    """(B or 1, 1) or (B, T): the last position of the document that each position belongs to, of those in this call; padding has none."""
    positions = info.placed()
    if info.valid is not None:
        positions = torch.where(info.valid, positions, torch.zeros_like(positions))
    if info.documents is None:
        return positions.amax(1, keepdim=True)
    positions, documents = torch.broadcast_tensors(positions, info.documents)
    number = torch.zeros_like(documents, dtype=torch.long)
    number[:, 1:] = (documents[:, 1:] != documents[:, :-1]).long().cumsum(1)
    return torch.zeros_like(positions).scatter_reduce(1, number, positions, "amax").gather(1, number)


def tables(positions: Tensor, frequencies: Tensor, layout: str) -> Tables:
    """What ``rotate`` multiplies by, computed once per forward for all layers."""
    cos, sin = angles(positions, frequencies)
    if layout == "half":
        return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)
    if positions.device.type == "cpu" and not torch.compiler.is_compiling():
        return (torch.complex(cos, sin),)
    return cos, sin


def rotate(x: Tensor, factors: Tables, layout: str) -> Tensor:
    """Rotate the first R channels of x (B, H, T, K) in fp32; the other channels pass. Keeps shape and dtype."""
    width = factors[0].shape[-1] * (1 if layout == "half" else 2)
    if width < x.shape[-1]:
        return torch.cat((rotate(x[..., :width], factors, layout), x[..., width:]), -1)
    y = at_least_fp32(x)
    if layout == "half":
        # each channel's partner is half the width away: one roll, where a split and a join would take five passes
        turned = torch.addcmul(y * factors[0], y.roll(width // 2, -1), factors[1])
    elif len(factors) == 1 and not (y.requires_grad and y.numel() == width):
        # heads are a transposed view of (B, T, H, K): a complex view needs neighbours in memory and every pair at an even place
        if y.stride(-1) != 1 or y.storage_offset() % 2 or any(s % 2 for s in y.stride()[:-1]):
            y = y.clone(memory_format=torch.contiguous_format)
        turned = torch.view_as_real(torch.view_as_complex(y.unflatten(-1, (-1, 2))) * factors[0]).flatten(-2)
    else:
        # a single vector's gradient, too, would have to begin at an even place, which torch does not see to
        cos, sin = factors if len(factors) == 2 else (factors[0].real, factors[0].imag)
        turned = rotate_reference(y, cos, sin, layout)
    return turned if turned.dtype == x.dtype else turned.to(x.dtype)


def rotate_reference(x: Tensor, cos: Tensor, sin: Tensor, layout: str) -> Tensor:
    """The formula as written: (a, b) -> (a cos - b sin, a sin + b cos) for each pair; cos and sin (B or 1, 1, T, R/2)."""
    y = at_least_fp32(x)
    if layout == "interleaved":
        a, b = y[..., 0::2], y[..., 1::2]
        return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)
    a, b = y.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1).to(x.dtype)
