"""Linear maps as decoding wants them: one row at a time or a few, so that reading the weights is nearly all of the work.

A CPU reads a large matrix (in, out) twice as fast as one (out, in) then, and again so with all threads; bf16 and int8 halve the bytes. ``decoding_form``
lays the maps of a model out in that way while a text is written. What it does not know is computed as ever.

The layouts themselves stand in ``laid_out.py``. Pope et al. 2022, arXiv:2211.05102, section 3 (decoding is bound by memory)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeGuard

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from components.core.errors import UserError
from components.functional import chosen
from components.functional.laid_out import Laid, Weights, laid_out
from components.functional.linear import MAPS, PLAIN, linear

MOST = 2**32  # bytes of weights that are laid out a second time just for speed: a larger model would need twice its memory
LAID_OUT = (*PLAIN, FakeTensor)  # a fake one has a shape alone, and tells what would be
SHORTEST = 16  # new tokens from which another layout of the same numbers pays for itself


class Multiplies(Protocol):
    """A part that multiplies by a matrix which is no ``nn.Linear`` of its own, through ``product``."""

    def matrix(self) -> tuple[Tensor, Tensor | None]:
        """The matrix (out, in), and the bias (out,) or None."""
        ...


def multiplies(module: nn.Module) -> bool:
    """Whether it ``Multiplies``. By name, and not by the type: all modules of a model are asked before each text."""
    return hasattr(type(module), "matrix")


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
        if type(self.module) in MAPS:
            return self.module.weight, self.module.bias  # type: ignore[return-value]  # of a plain linear map
        return self.module.matrix()  # type: ignore[operator,no-any-return]  # it `multiplies`

    def __call__(self, x: Tensor) -> Tensor:
        return self.ready()(x)

    def ready(self) -> Laid:
        if self.laid is None:
            self.laid = laid_out(*self.matrix(), self.how, self.rows, self.times, self.packers)
        return self.laid

    def with_others(self, others: tuple[Product, ...], x: Tensor) -> Sequence[Tensor]:
        """What this map and others give for the same input, by one product."""
        laid, sizes = self.joined_with(others)
        return torch.split_with_sizes(laid(x), sizes, -1)  # and not Tensor.split, which is written in Python

    def joined_with(self, others: tuple[Product, ...]) -> tuple[Laid, list[int]]:
        """The product of this map and others, and how many outputs each of them has."""
        found = self.joined.get(others)
        if found is None:
            weights, biases = zip(*(p.matrix() for p in (self, *others)))
            sizes = [w.shape[0] for w in weights]
            bias = None
            if any(b is not None for b in biases):
                bias = torch.cat([w.new_zeros(w.shape[0]) if b is None else b for w, b in zip(weights, biases)])
            found = self.joined[others] = (
                laid_out(torch.cat(weights), bias, self.how, self.rows, self.times, self.packers),
                sizes,
            )
        return found


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


def by_token(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """What a map that nobody has hooked does to a token, looked up once a text."""
    form = vars(module).get("forward")
    return form.ready() if isinstance(form, Product) else module.forward


def by_token_together(maps: Sequence[nn.Module]) -> Callable[[Tensor], Sequence[Tensor]]:
    """``together`` for a token, looked up once a text."""
    forms = [p for m in maps if isinstance(p := vars(m).get("forward"), Product)]
    if len(forms) == len(maps):
        laid, sizes = forms[0].joined_with(tuple(forms[1:]))
        return lambda x: torch.split_with_sizes(laid(x), sizes, -1)
    steps = [by_token(m) for m in maps]
    return lambda x: [step(x) for step in steps]


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
    known += [(m, "product") for m in modules if multiplies(m) and "product" not in vars(m)]
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
