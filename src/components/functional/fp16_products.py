"""Products of few rows by a matrix that is kept in fp16, which FBGEMM has on x86: twice as fast as oneDNN's in bf16, and neither inputs nor sums are rounded.

Laying a matrix out takes FBGEMM as long as a hundred products, on one thread. So the first product, which is the prompt's, is of the matrix as it is, and
other threads lay it out meanwhile. (It is so with one thread too: what is written does not depend on the number of threads.)
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 2.0**-6  # of a matrix's largest number: steps near zero, 6e-8, are then smaller than any that matters


def fits_fp16(weight: Tensor) -> bool:
    """Whether FBGEMM is there, and the matrix is one of fp32 within the range of fp16."""
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or torch.backends.quantized.engine not in ("x86", "fbgemm"):
        return False
    return LEAST <= float(weight.abs().amax()) <= torch.finfo(torch.float16).max


class InFp16:
    """x (..., in) -> x W^T + b (..., out), W (out, in) rounded to fp16 from the second call on.

    Args:
        packers: threads that lay it out; None: this one does, when it needs it.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, packers: Executor | None) -> None:
        self.first: tuple[Tensor, Tensor | None] | None = weight, bias
        self.packed: object = None
        pack = partial(torch.ops.quantized.linear_prepack_fp16, weight.detach(), None if bias is None else bias.detach())
        self.packing: Callable[[], object] = pack if packers is None else packers.submit(pack).result

    def __call__(self, x: Tensor) -> Tensor:
        if self.first is not None:
            (weight, bias), self.first = self.first, None
            return F.linear(x.float(), weight, bias).type_as(x)
        if self.packed is None:
            self.packed = self.packing()
        # `op`: called by its name, an operation with a packed matrix asks in Python whether that is a fake one
        return torch.ops.quantized.linear_dynamic_fp16.op(x.float(), self.packed).type_as(x)
