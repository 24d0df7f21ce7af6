"""Linear maps as decoding wants them: one row at a time or a few, so that reading the weights is nearly all of the work.

A CPU reads a large matrix (in, out) twice as fast as one (out, in) then, and again so with all threads; bf16 and int8 halve the bytes. ``decoding_form``
lays the maps of a model out in that way while a text is written. What it does not know is computed as ever.

Pope et al. 2022, arXiv:2211.05102, section 3 (decoding is bound by memory); Dettmers et al. 2022, arXiv:2208.07339, section 2.1 (absmax by row)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal, Protocol, TypeAlias, TypeGuard, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from components.core.errors import UserError
from components.functional import chosen
from components.functional.fp16_products import InFp16, fits_fp16
from components.functional.linear import MAPS, PLAIN, PLAINLY, linear

Weights: TypeAlias = Literal["same", "bf16", "int8"]

MOST = 2**32  # bytes of weights that are laid out a second time just for speed: a larger model would need twice its memory
LAID_OUT = (*PLAIN, FakeTensor)  # a fake one has a shape alone, and tells what would be
FEW = 16  # rows that blocks of oneDNN's are made for: those for one row are half as fast for five, and those for 16 as fast for one
# new tokens from which it pays to lay matrices out as FBGEMM wants them: on a Zen 4 that takes as long as it saves in 110 to 150, on a faster core, whose products
# in bf16 are nearly as fast, in 250 of a small vocabulary
REPAID = 512
READ = 16  # inputs of a row that torch's product by int8 reads at once
SHORTEST = 16  # new tokens from which another layout of the same numbers pays for itself


@runtime_checkable
class Multiplies(Protocol):
    """A part that multiplies by a matrix which is no ``nn.Linear`` of its own, through ``product``."""

    def matrix(self) -> tuple[Tensor, Tensor | None]:
        """The matrix (out, in), and the bias (out,) or None."""
        ...


class Product:
    """x (..., in) -> x W^T + b (..., out), from a copy of the weights that is made at the first call.

    Args:
        module: a plain ``nn.Linear``, or a part that ``Multiplies``.
        how: same: the numbers as they are. bf16: weights are rounded to bf16, and so are inputs; or weights to fp16, whose steps are finer, and inputs
            not at all, where the CPU has a product of such. Sums and biases are not rounded. int8: weights are whole steps, 127 up and down from
            zero, of a size that each output has for itself; inputs are rounded to bf16.
        rows: of x, most of the time.
        times: that it will be called, about.
        packers: threads that lay matrices out meanwhile, for what takes long; None: this thread does.
    """

    def __init__(self, module: nn.Module, how: Weights, rows: int, times: int, packers: Executor | None = None) -> None:
        self.module, self.rows, self.times, self.packers = module, rows, times, packers
        self.how: Weights = how
        self.laid: Laid | None = None
        self.joined: dict[tuple[Product, ...], tuple[Laid, list[int]]] = {}

    def matrix(self) -> tuple[Tensor, Tensor | None]:
        if isinstance(self.module, Multiplies):
            return self.module.matrix()
        return self.module.weight, self.module.bias  # type: ignore[return-value]  # of a plain linear map

    def __call__(self, x: Tensor) -> Tensor:
        if self.laid is None:
            self.laid = Laid(*self.matrix(), self.how, self.rows, self.times, self.packers)
        return self.laid(x)

    def with_others(self, others: tuple[Product, ...], x: Tensor) -> Sequence[Tensor]:
        """What this map and others give for the same input, by one product."""
        found = self.joined.get(others)
        if found is None:
            weights, biases = zip(*(p.matrix() for p in (self, *others)))
            sizes = [w.shape[0] for w in weights]
            bias = None
            if any(b is not None for b in biases):
                bias = torch.cat([w.new_zeros(w.shape[0]) if b is None else b for w, b in zip(weights, biases)])
            found = self.joined[others] = Laid(torch.cat(weights), bias, self.how, self.rows, self.times, self.packers), sizes
        return torch.split_with_sizes(found[0](x), found[1], -1)  # and not Tensor.split, which is written in Python


class Laid:
    """A matrix laid out for products of few rows.

    A product of one row runs on one thread, whatever the number of threads. So fp32 weights are cut by their outputs into as many blocks as there
    are threads, (blocks, in, out / blocks), which a batched product gives a thread each. For several rows oneDNN's blocks are up to twice as fast.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, how: Weights, rows: int, times: int, packers: Executor | None = None
    ) -> None:
        self.bias, self.outputs, self.steps, self.fp16 = bias, weight.shape[0], None, None
        self.wide = how == "same" and weight.dtype != torch.bfloat16
        if how == "int8":
            matrix, self.steps = quantised(weight)
            self.weight = in_whole_reads(matrix)
        elif self.wide and (rows == 1 or not packs(weight)):
            threads = torch.get_num_threads()
            blocks = threads if self.outputs % threads == 0 else 1
            self.weight = weight.view(blocks, -1, weight.shape[1]).transpose(1, 2).contiguous()
        elif how == "bf16" and rows <= FEW // 2 and times >= REPAID and fits_fp16(weight):
            self.fp16 = InFp16(weight, bias, packers)
        else:
            self.weight = packed(weight if self.wide else weight.to(torch.bfloat16))

    def __call__(self, x: Tensor) -> Tensor:
        if self.fp16 is not None:
            return self.fp16(x)
        if self.wide and self.weight.is_mkldnn:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, *PLAINLY)
        if self.wide:
            return self._in_blocks(x)
        half = x.bfloat16()
        if self.steps is not None:
            y = torch.ops.aten._weight_int8pack_mm(in_whole_reads(half.reshape(-1, half.shape[-1])), self.weight, self.steps)
            y = y.view(*x.shape[:-1], self.outputs)
        elif self.weight.is_mkldnn:
            y = torch.ops.mkldnn._linear_pointwise(half, self.weight, None, *PLAINLY)
        else:
            y = linear(half, self.weight)
        y = y.type_as(x)
        return y if self.bias is None else y + self.bias

    def _in_blocks(self, x: Tensor) -> Tensor:
        *before, width = x.shape
        rows = x.reshape(1, -1, width)
        y = torch.bmm(rows.expand(self.weight.shape[0], -1, -1), self.weight)
        y = (y if rows.shape[1] == 1 else y.transpose(0, 1).reshape(rows.shape[1], -1)).view(*before, self.outputs)
        return y if self.bias is None else y.add_(self.bias)


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


def in_form(x: Tensor, maps: Sequence[nn.Module]) -> Sequence[Tensor] | None:
    """What the maps give for the same input, by one product, if all of them are in a decoding form."""
    products = [vars(m).get("forward") for m in maps]
    if not isinstance(products[0], Product):
        return None
    first, *others = [p for p in products if isinstance(p, Product)]
    return first.with_others(tuple(others), x) if len(others) == len(maps) - 1 else None


def together(x: Tensor, maps: Sequence[nn.Module]) -> Sequence[Tensor]:
    """``[m(x) for m in maps]``: by one product in a decoding form."""
    laid = in_form(x, maps)
    return [m(x) for m in maps] if laid is None else laid


def product(module: Multiplies, x: Tensor) -> Tensor:
    """x times the module's matrix, plus its bias."""
    form = vars(module).get("product")
    return linear(x, *module.matrix()) if form is None else form(x)


def plain(module: nn.Module, kinds: tuple[type[Tensor], ...] = PLAIN) -> TypeGuard[nn.Linear]:
    """Whether this is a linear map that is not wrapped, hooked, replaced or sharded, so that calling it has a known effect."""
    hooks = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return type(module) in MAPS and not hooks and type(module.weight) in kinds and "forward" not in vars(module)


@contextmanager
def decoding_form(model: object, how: Weights, new_tokens: int, rows: int = 1) -> Iterator[None]:
    """Within it, the linear maps of ``model`` compute from a layout that fits ``rows`` rows at a time, made when it is first needed.

    ``how=same`` gives the same numbers but for the order of sums, and does nothing where that would not pay: for a few tokens, on an
    accelerator, for weights above 4 GiB, or in a model that is compiled. Matrices of experts stay as they are.

    Raises:
        UserError: int8 on a device that has no kernel for it.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    known: list[tuple[nn.Module, str]] = [(m, "forward") for m in modules if plain(m, LAID_OUT)]
    known += [(m, "product") for m in modules if isinstance(m, Multiplies) and "product" not in vars(m)]
    threads = torch.get_num_threads()
    packers = ThreadPoolExecutor(threads, "packer") if how == "bf16" and threads > 1 else None
    products = [(m, name, Product(m, how, rows, new_tokens, packers)) for m, name in known]
    weights = [p.matrix()[0] for _, _, p in products]
    if how == "int8" and any(w.device.type != "cpu" for w in weights):
        raise UserError("decoding.weights", "int8 is multiplied on a CPU only", "take bf16")
    taken = [p for p, w in zip(products, weights) if type(w) in LAID_OUT and w.is_floating_point() and w.dim() == 2]
    against = against_laying_out(modules, weights, new_tokens) if how == "same" else ""
    if against:
        taken = []
    if chosen.heard is not None:
        form = "as in training" if not taken else "(in, out), maps of one input joined" if how == "same" else how
        chosen.tell("decoding form", form, against or (f"decoding.weights={how}" if how != "same" else "read twice as fast"))
    for module, name, form in taken:
        vars(module)[name] = form
    try:
        yield
    finally:
        for module, name, _ in taken:
            vars(module).pop(name, None)
        if packers is not None:
            packers.shutdown(cancel_futures=True)


def against_laying_out(modules: Sequence[nn.Module], weights: Sequence[Tensor], new_tokens: int) -> str:
    """Why another layout of the same numbers saves no time, or changes something that somebody else counts on; empty where it pays."""
    if new_tokens < SHORTEST:
        return f"fewer than {SHORTEST} new tokens"
    if any(m._compiled_call_impl is not None for m in modules):
        return "the model is compiled"
    if not all(w.device.type == "cpu" and w.dtype in (torch.float32, torch.bfloat16) for w in weights):
        return "the weights are not in fp32 or bf16 on a CPU"
    if sum(w.numel() * w.element_size() for w in weights) > MOST:
        return f"the weights are larger than {MOST >> 30} GiB"
    return "autocast is on" if torch.is_autocast_enabled("cpu") else ""
