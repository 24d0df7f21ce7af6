"""A matrix laid out for products of few rows, as decoding has them: in blocks for threads, in oneDNN's blocks, in bf16, in fp16, or in int8.

A token passes every matrix of a model, so what is known of it beforehand is computed when it is laid out.

Pope et al. 2022, arXiv:2211.05102, section 3 (decoding is bound by memory); Dettmers et al. 2022, arXiv:2208.07339, section 2.1 (absmax by row)
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from components.functional.fp16_products import InFp16, fits_fp16
from components.functional.linear import PLAINLY, linear

Weights: TypeAlias = Literal["same", "bf16", "int8"]
Laid: TypeAlias = Callable[[Tensor], Tensor]  # x (..., in) -> x W^T + b (..., out)

FEW = 16  # rows that blocks of oneDNN's are made for: those for one row are half as fast for five, and those for 16 as fast for one
# new tokens from which it pays to lay matrices out as FBGEMM wants them: on a Zen 4 that takes as long as it saves in 110 to 150, on a faster core, whose products
# in bf16 are nearly as fast, in 250 of a small vocabulary
REPAID = 512
READ = 16  # inputs of a row that torch's product by int8 reads at once


def laid_out(weight: Tensor, bias: Tensor | None, how: Weights, rows: int, times: int, packers: Executor | None = None) -> Laid:
    """weight (out, in) and bias (out,), for products of ``rows`` rows most of the time, about ``times`` of them; ``how`` as ``Product`` has it."""
    if how == "int8":
        return InInt8(weight, bias)
    if how == "same" and weight.dtype != torch.bfloat16:
        return InBlocks(weight, bias) if rows == 1 or not packs(weight) else Packed(weight, bias)
    if how == "bf16" and rows <= FEW // 2 and times >= REPAID and fits_fp16(weight):
        return InFp16(weight, bias, packers)
    return InBf16(weight, bias)


class InBlocks:
    """A product of one row runs on one thread, whatever the number of threads. So weights are cut by their outputs into as many blocks as there are threads,
    (blocks, in, out / blocks), which a batched product gives a thread each."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.bias = bias
        self.outputs, self.inputs = weight.shape
        threads = torch.get_num_threads()
        self.blocks = threads if self.outputs % threads == 0 else 1
        self.weight = weight.view(self.blocks, -1, self.inputs).transpose(1, 2).contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        if x.dim() == 3 and x.numel() == self.inputs:  # one token of one text: what the blocks give lies in order
            y = torch.bmm(x.expand(self.blocks, -1, -1), self.weight).view(1, 1, self.outputs)
        else:
            rows = x.reshape(1, -1, self.inputs)
            y = torch.bmm(rows.expand(self.blocks, -1, -1), self.weight)
            y = y.transpose(0, 1).reshape(*x.shape[:-1], self.outputs)
        return y if self.bias is None else y.add_(self.bias)


class Packed:
    """In the blocks that oneDNN multiplies several rows by, up to twice as fast as those above."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = packed(weight), bias
        self.multiply = torch.ops.mkldnn._linear_pointwise.default  # looking it up by its names takes as long as adding a bias

    def __call__(self, x: Tensor) -> Tensor:
        return self.multiply(x, self.weight, self.bias, *PLAINLY)


class InBf16:
    """Weights and inputs rounded to bf16; sums and biases are not."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = packed(weight.to(torch.bfloat16)), bias
        self.multiply = torch.ops.mkldnn._linear_pointwise.default if self.weight.is_mkldnn else None

    def __call__(self, x: Tensor) -> Tensor:
        half = x.bfloat16()
        y = linear(half, self.weight) if self.multiply is None else self.multiply(half, self.weight, None, *PLAINLY)
        y = y.type_as(x)
        return y if self.bias is None else y + self.bias


class InInt8:
    """Weights in whole steps, 127 up and down from zero, of a size that each output has for itself; inputs are rounded to bf16."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        matrix, self.steps = quantised(weight)
        self.weight, self.bias = in_whole_reads(matrix), bias
        self.outputs, self.inputs = weight.shape
        self.multiply = torch.ops.aten._weight_int8pack_mm.default

    def __call__(self, x: Tensor) -> Tensor:
        rows = in_whole_reads(x.bfloat16().reshape(-1, self.inputs))
        y = self.multiply(rows, self.weight, self.steps).view(*x.shape[:-1], self.outputs).type_as(x)
        return y if self.bias is None else y + self.bias


def packs(weight: Tensor) -> bool:
    """Whether oneDNN has blocks of its own for a matrix: of fp32 wherever it is there, of bf16 where the CPU has what that needs (AVX-512 or AVX-NE-CONVERT)."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def packed(weight: Tensor) -> Tensor:
    """A matrix (out, in) in the blocks that oneDNN multiplies few rows by; as it is where it has none."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), FEW) if packs(weight) else weight


def in_whole_reads(rows: Tensor) -> Tensor:
    """(N, in), with zeros up to the next multiple of READ: torch's product by int8 reads so many at once, and beyond the end of a row that has fewer."""
    lacking = -rows.shape[1] % READ
    return F.pad(rows, (0, lacking)) if lacking else rows


def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(out, in) in int8, and the step of each output (out,): its largest magnitude over 127."""
    wide = weight.float()
    steps = (wide.abs().amax(1) / 127).to(torch.bfloat16)
    # by the step as it is kept: one that is rounded afterwards would stretch the whole row
    by = torch.where(steps == 0, 1, steps).float()[:, None]
    return (wide / by).round_().clamp_(-127, 127).to(torch.int8), steps
