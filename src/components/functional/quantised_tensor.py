"""A frozen matrix that is kept in few bits and is, to all who read it, the matrix that these bits mean.

``linear`` makes the whole matrix for the product, forward and backward, and keeps none of it in between (``products_in_few_bits.py``); ``F.linear`` of
such a matrix is the same, but in a compiled program, which does not ask a tensor. All else that reads it gets the whole matrix for that moment.
``copy_`` rounds what is copied into it. It has no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._pytree import tree_map_only

from components.functional import linear as maps
from components.functional.block_quantisation import FORMATS, Bits, Pieces
from components.functional.products_in_few_bits import product

aten = torch.ops.aten
Call: TypeAlias = Callable[..., object]


class Quantised(Tensor):
    """A matrix (out, in) in few bits.

    Args:
        bits: how it is kept.
        pieces: what ``block_quantisation`` keeps of it, by name; no copies.
        shape: (out, in).
        dtype: that it has to those who read it.
    """

    bits: Bits

    @staticmethod
    def __new__(cls, bits: Bits, pieces: Pieces, shape: torch.Size, dtype: torch.dtype) -> Quantised:
        device = next(iter(pieces.values())).device
        return Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=device)  # type: ignore[attr-defined,no-any-return]  # torch's own way, untyped

    def __init__(self, bits: Bits, pieces: Pieces, shape: torch.Size, dtype: torch.dtype) -> None:
        del shape, dtype
        self.bits = bits
        for name in FORMATS[bits].pieces:
            setattr(self, name, pieces[name])

    @classmethod
    def of(cls, weight: Tensor, bits: Bits) -> Quantised:
        """``weight`` (out, in), rounded."""
        return cls(bits, FORMATS[bits].pack(weight), weight.shape, weight.dtype)

    @property
    def pieces(self) -> Pieces:
        return {name: getattr(self, name) for name in FORMATS[self.bits].pieces}

    def whole(self, dtype: torch.dtype | None = None) -> Tensor:
        """The matrix as a plain tensor of its own."""
        return FORMATS[self.bits].unpack(self.pieces).to(dtype or self.dtype)

    def like(self, change: Callable[[Tensor], Tensor], dtype: torch.dtype | None = None) -> Quantised:
        return Quantised(self.bits, {n: change(t) for n, t in self.pieces.items()}, self.shape, dtype or self.dtype)

    def __repr__(self, *, tensor_contents: object = None) -> str:
        del tensor_contents
        return f"<{self.bits} matrix {' x '.join(map(str, self.shape))} of {self.dtype} on {self.device}>"

    def __tensor_flatten__(self) -> tuple[list[str], tuple[Bits, torch.dtype]]:
        return [*FORMATS[self.bits].pieces], (self.bits, self.dtype)

    @staticmethod
    def __tensor_unflatten__(inner: Pieces, held: tuple[Bits, torch.dtype], size: torch.Size, stride: object) -> Quantised:
        del stride
        return Quantised(held[0], inner, size, held[1])

    @classmethod
    def __torch_function__(
        cls, func: Call, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
    ) -> object:
        del types
        func = cast(Call, in_few_bits) if func is F.linear else func
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(
        cls, func: OpOverload, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
    ) -> object:
        del types
        kwargs = kwargs or {}
        if args and isinstance(args[0], Quantised):
            if func in KEEPING:
                return KEEPING[func](*args, **kwargs)
            if func._schema.is_mutable:
                raise TypeError(f"{args[0]!r} is frozen: {func} would change it")
        read: tuple[tuple[object, ...], dict[str, object]] = tree_map_only(Quantised, Quantised.whole, (args, kwargs))
        return func(*read[0], **read[1])


def _copied(
    matrix: Quantised,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    non_blocking: bool = False,
    **rest: object,
) -> Tensor:
    del rest
    if dtype is not None and not dtype.is_floating_point:
        return matrix.whole().to(device=device, dtype=dtype)
    return matrix.like(lambda t: t.to(device=device, non_blocking=non_blocking, copy=True), dtype)


def _empty(
    matrix: Quantised, *, dtype: torch.dtype | None = None, device: torch.device | None = None, **rest: object
) -> Quantised:
    del rest
    return matrix.like(lambda t: torch.empty_like(t, device=device), dtype)


def _taken(matrix: Quantised, source: Tensor, non_blocking: bool = False) -> Quantised:
    """``matrix.copy_(source)``: bits as they are where both are kept alike, else rounded anew."""
    alike = isinstance(source, Quantised) and source.bits == matrix.bits
    whole = source.whole() if isinstance(source, Quantised) else source
    pieces = source.pieces if alike else FORMATS[matrix.bits].pack(whole.to(matrix.device).expand(matrix.shape))  # type: ignore[attr-defined]  # `alike` says that it is one
    for name, piece in matrix.pieces.items():
        piece.copy_(pieces[name], non_blocking)
    return matrix


# what keeps the bits; everything else reads the whole matrix
KEEPING: dict[OpOverload, Callable[..., Tensor]] = {
    aten.detach.default: lambda matrix: matrix.like(Tensor.detach),
    aten.alias.default: lambda matrix: matrix.like(Tensor.detach),
    aten.clone.default: lambda matrix, **_: matrix.like(Tensor.clone),
    aten._to_copy.default: _copied,
    aten.empty_like.default: _empty,
    aten.copy_.default: _taken,
}


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``, of a matrix in few bits or a plain one."""
    return in_few_bits(input, weight, bias) if isinstance(weight, Quantised) else maps.linear(input, weight, bias)


def in_few_bits(input: Tensor, weight: Quantised, bias: Tensor | None = None) -> Tensor:
    """The product by a matrix in few bits; under autocast in its dtype, as ``F.linear`` would do it."""
    kind = input.device.type
    if kind != "meta" and torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        input, bias = input.to(dtype), None if bias is None else bias.to(dtype)
    return product(input, weight.pieces, bias, weight.bits)


def bytes_of(tensor: Tensor) -> int:
    """Memory that the numbers of a tensor take."""
    if isinstance(tensor, Quantised):
        return sum(map(bytes_of, tensor.pieces.values()))
    return tensor.numel() * tensor.element_size()


def quantise(module: nn.Module, bits: Bits) -> None:
    """Keep the module's ``weight`` (out, in), frozen, in few bits. In state dicts its pieces stand under names of their own, plain tensors."""
    module.weight = nn.Parameter(Quantised.of(module.weight.detach(), bits), requires_grad=False)  # type: ignore[union-attr,operator]  # of a linear map
    module._apply = partial(_apply, module)  # type: ignore[assignment]  # in the place of the class's
    if type(module).forward in [m.forward for m in maps.MAPS]:
        module.forward = partial(_forward, module)
    module.register_state_dict_post_hook(_in_pieces)
    module.register_load_state_dict_pre_hook(_from_pieces)


def _forward(module: nn.Module, input: Tensor) -> Tensor:
    return linear(input, module.weight, module.bias)  # type: ignore[arg-type]  # of a linear map


def _apply(module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """``Module._apply`` that puts another parameter in place of the matrix, where torch swaps contents: what was compiled holds weak references that forbid it."""
    matrix = module._parameters["weight"]
    assert matrix is not None
    module._parameters["weight"] = None
    try:
        type(module)._apply(module, change, recurse)
        with torch.no_grad():
            matrix = nn.Parameter(change(matrix), requires_grad=False)
    finally:
        module._parameters["weight"] = matrix
    return module


def dequantise(module: nn.Module) -> None:
    """Make the module's ``weight`` a plain parameter."""
    if isinstance(module.weight, Quantised):
        module.weight = nn.Parameter(module.weight.whole())
        for name in ("_apply", "forward"):
            vars(module).pop(name, None)


def unpacked(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with whole matrices in the place of pieces."""
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        owner, _, piece = name.rpartition(".")
        bits = _kept(weights, owner)
        if bits is None or piece not in FORMATS[bits].pieces:
            found[name] = tensor
        elif piece == "codes":
            found[owner] = FORMATS[bits].unpack({n: weights[f"{owner}.{n}"] for n in FORMATS[bits].pieces})
    return found


def _kept(weights: Mapping[str, Tensor], owner: str) -> Bits | None:
    """How the matrix of this name is kept in a state dict: the format all of whose pieces are there."""
    if not owner.endswith("weight"):
        return None
    return next((b for b in ("nf4", "int8") if all(f"{owner}.{n}" in weights for n in FORMATS[b].pieces)), None)


def _in_pieces(_module: nn.Module, state: dict[str, Tensor], prefix: str, _: object) -> None:
    held = state.get(f"{prefix}weight")
    if isinstance(held, Quantised):
        del state[f"{prefix}weight"]
        state.update({f"{prefix}weight.{n}": piece for n, piece in held.pieces.items()})


def _from_pieces(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    own, name = module.weight, f"{prefix}weight"
    if isinstance(own, Quantised) and _kept(state, name) == own.bits:
        pieces = {n: state.pop(f"{name}.{n}") for n in own.pieces}
        state[name] = Quantised(own.bits, pieces, own.shape, own.dtype)
