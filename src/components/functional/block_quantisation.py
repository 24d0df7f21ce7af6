"""A matrix (out, in) in few bits: in int8 with a step for each row, or in nf4 with a step for each block of 64 numbers, the steps in 8 bits themselves.

Dettmers et al. 2022, arXiv:2208.07339, section 2.1 (absmax by row); Dettmers et al. 2023, arXiv:2305.14314, section 3 (nf4, double quantisation)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Bits: TypeAlias = Literal["int8", "nf4"]
Pieces: TypeAlias = dict[str, Tensor]

BLOCK = 64  # numbers that share a step
GROUP = 256  # steps that share a factor
# the paper's appendix E: quantiles of N(0, 1) between -1 and 1, one of them 0
CODES = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334),
    *(-0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


class Format(ABC):
    """How a matrix is kept: ``pack`` makes its pieces, plain tensors; ``unpack`` makes the matrix of them again, in fp32 (out, in)."""

    pieces: tuple[str, ...]

    @abstractmethod
    def pack(self, weight: Tensor) -> Pieces:
        """The pieces of a matrix (out, in) of floating-point numbers, on any device, ``meta`` too."""

    @abstractmethod
    def unpack(self, pieces: Pieces) -> Tensor: ...


class Int8(Format):
    """codes (out, in) int8 and steps (out, 1) fp32: the number is code * step, the largest magnitude of a row 127 steps."""

    pieces = ("codes", "steps")

    def pack(self, weight: Tensor) -> Pieces:
        wide = weight.float()
        steps = wide.abs().amax(1, keepdim=True) / 127
        return {"codes": (wide / _divisor(steps)).round_().clamp_(-127, 127).to(torch.int8), "steps": steps}

    def unpack(self, pieces: Pieces) -> Tensor:
        return pieces["codes"] * pieces["steps"]


class NF4(Format):
    """The number is CODES[code] * step, the step of its block ``steps * factors + mean``.

    codes (out, in / 2) uint8, two in a byte, the first in the upper half; steps (blocks,) int8; factors (groups,) fp32 and mean () fp32. Blocks run on
    over the ends of rows; the last block and the last group may be shorter. An odd width is no nf4: ValueError.
    """

    pieces = ("codes", "steps", "factors", "mean")

    def pack(self, weight: Tensor) -> Pieces:
        if weight.shape[1] % 2:
            raise ValueError(f"a matrix of {' x '.join(map(str, weight.shape))} has no nf4: its inputs are odd in number")
        blocks = _rows_of(weight.float().flatten(), BLOCK)
        largest = blocks.abs().amax(1)
        middles = torch.tensor([(a + b) / 2 for a, b in pairwise(CODES)], dtype=torch.float32, device=weight.device)
        nearest = torch.bucketize(blocks / _divisor(largest)[:, None], middles, out_int32=True).to(torch.uint8)
        nearest = nearest.flatten()[: weight.numel()].view(weight.shape[0], -1, 2)
        mean = largest.mean()
        groups = _rows_of(largest - mean, GROUP)
        factors = groups.abs().amax(1) / 128
        steps = (groups / _divisor(factors)[:, None]).round_().clamp_(-128, 127).to(torch.int8)
        codes = nearest[..., 0] << 4 | nearest[..., 1]
        return {"codes": codes, "steps": steps.flatten()[: largest.numel()].clone(), "factors": factors, "mean": mean}

    def unpack(self, pieces: Pieces) -> Tensor:
        codes, steps = pieces["codes"], pieces["steps"]
        table = torch.tensor(CODES, dtype=torch.float32, device=codes.device)
        pairs = torch.stack((table.repeat_interleave(16), table.repeat(16)), 1)  # (256, 2): what each byte means
        values = F.embedding(codes.flatten().int(), pairs)
        largest = steps * pieces["factors"].repeat_interleave(GROUP)[: steps.numel()] + pieces["mean"]
        blocks = _rows_of(values.flatten(), BLOCK) * largest[:, None]
        return blocks.flatten()[: 2 * codes.numel()].view(codes.shape[0], -1)


FORMATS: dict[Bits, Format] = {"int8": Int8(), "nf4": NF4()}


def _divisor(steps: Tensor) -> Tensor:
    return torch.where(steps == 0, 1, steps)  # where all is zero, the codes are


def _rows_of(numbers: Tensor, width: int) -> Tensor:
    """(n,) as rows of ``width``, the last one filled up with zeros."""
    return F.pad(numbers, (0, -numbers.numel() % width)).view(-1, width)
