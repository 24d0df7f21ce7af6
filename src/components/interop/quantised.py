"""Tensors of a quantised checkpoint, dequantised when they are read: fp8 with scales of blocks, rows or tensors, int8 with scales, MXFP4.

fp8: DeepSeek-AI 2024, arXiv:2412.19437, section 3.3 (blocks); the number is weight * scale. MXFP4: OCP Microscaling Formats 1.0 (2023): blocks of 32
numbers of four bits, e2m1, with one exponent for each block. A model here computes in floating point: nothing is quantised again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from components.core.errors import UserError
from components.interop.fields import Theirs
from components.interop.files import Readable, Tensors

FLOATS = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}  # what a config.json may call the dtype of a model
NUMBERS = ("F8_E4M3", "F8_E5M2", "I8")  # of a weight with a scale beside it
SCALES = ("_scale_inv", "_scale")  # the end of the scale's name, after the weight's; both multiply
# the scales of activations and of cached keys and values: an inference in fp8 needs them
OF_ACTIVATIONS = (*(f".{n}_scale" for n in ("input", "activation", "output", "q", "k", "v")), ".input_scale_ub")
BLOCKS, EXPONENTS = "_blocks", "_scales"
BLOCK = (128, 128)
FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
KNOWN = "fp8, fbgemm_fp8, compressed-tensors and modelopt with 8 bits, mxfp4"


@dataclass(frozen=True)
class Scaled:
    """A weight and its scale, of which each number belongs to a block, a row, or the whole."""

    weight: str
    scale: str
    shape: tuple[int, ...]
    block: tuple[int, ...]  # in each dimension, the numbers of one scale

    def read(self, tensors: Readable, dtype: torch.dtype) -> Tensor:
        scale = exponents(tensors[self.scale])
        scale = scale.reshape(scale.shape + (1,) * (len(self.shape) - scale.dim())) if scale.numel() > 1 else scale.reshape(())
        for d, block in enumerate(self.block if scale.dim() else ()):
            if block > 1 and scale.shape[d] > 1:
                scale = scale.repeat_interleave(block, d).narrow(d, 0, self.shape[d])
        return tensors[self.weight].float().mul_(scale).to(dtype)


@dataclass(frozen=True)
class Packed:
    """Blocks of numbers of four bits and their exponents: (E, rows, G, 16) and (E, rows, G), of a matrix (E, 32 G, rows)."""

    blocks: str
    scales: str
    shape: tuple[int, ...]

    def read(self, tensors: Readable, dtype: torch.dtype) -> Tensor:
        made = torch.empty(self.shape, dtype=dtype)
        exponent, table = tensors[self.scales].int() - 127, torch.tensor(FP4, dtype=dtype)
        for expert, (held, power) in enumerate(
            zip(tensors[self.blocks], exponent, strict=True)
        ):  # one by one: indices are large
            numbers = torch.stack((table[(held & 15).int()], table[(held >> 4).int()]), -1).flatten(-2)
            made[expert] = torch.ldexp(numbers, power[..., None]).to(dtype).flatten(1).t()
        return made


class Dequantised:
    """A checkpoint's tensors, those that are quantised in floating point and under the names that they have unquantised."""

    def __init__(self, tensors: Tensors, dtype: str, made: Mapping[str, Scaled | Packed], hidden: set[str]) -> None:
        self._tensors, self._dtype, self._made, self._hidden = tensors, dtype, made, hidden
        self._torch = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}[dtype]

    @property
    def names(self) -> set[str]:
        return (self._tensors.names - self._hidden) | set(self._made)

    @property
    def bytes(self) -> int:
        """At least as many as there are numbers: two of them share a byte at most."""
        return 2 * self._tensors.bytes

    def shape(self, name: str) -> tuple[int, ...]:
        return self._made[name].shape if name in self._made else self._tensors.shape(name)

    def dtype(self, name: str) -> str:
        return self._dtype if name in self._made else self._tensors.dtype(name)

    def __getitem__(self, name: str) -> Tensor:
        return self._made[name].read(self._tensors, self._torch) if name in self._made else self._tensors[name]

    @property
    def note(self) -> str:
        """What was done to the numbers."""
        what = ", ".join(sorted({self._tensors.dtype(_name_of(m)) for m in self._made.values()}))
        return f"{len(self._made)} tensors in {what} dequantised to {self._dtype}: nothing is quantised here"


def dequantised(tensors: Tensors, config: Theirs, where: str) -> Dequantised:
    """``tensors``, dequantised as the ``quantization_config`` of a config.json says.

    Raises:
        UserError: a way of quantising that is not known, or weights and scales that do not belong together.
    """
    block = _block(config.get("quantization_config"), where)
    made: dict[str, Scaled | Packed] = {}
    hidden = {n for n in tensors.names if n.endswith(OF_ACTIVATIONS)}
    for name in sorted(tensors.names):
        if tensors.dtype(name) in NUMBERS:
            one: Scaled | Packed = _scaled(tensors, name, block, where)
            made[name] = one
            hidden.add(one.scale)
        elif tensors.dtype(name) == "U8" and name.endswith(BLOCKS):
            one = _packed(tensors, name, where)
            made[name.removesuffix(BLOCKS)] = one
            hidden |= {one.blocks, one.scales}
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    return Dequantised(tensors, FLOATS.get(dtype, "BF16"), made, hidden)


def exponents(scale: Tensor) -> Tensor:
    """A scale in fp32. One of bytes is a power of two, as is one in e8m0."""
    return (scale.float() - 127).exp2() if scale.dtype == torch.uint8 else scale.float()


def _name_of(one: Scaled | Packed) -> str:
    return one.weight if isinstance(one, Scaled) else one.blocks


def _block(said: object, where: str) -> tuple[int, int]:
    """The sizes of a block, of a quantisation that is known."""
    place = f"{where}: quantization_config"
    if not isinstance(said, dict):
        raise UserError(place, f"is {said!r:.60}, and no object", "fetch it again")
    method = said.get("quant_method")
    if method in ("fp8", "fbgemm_fp8", "mxfp4"):
        block = said.get("weight_block_size") or BLOCK
    elif method == "modelopt" and said.get("quant_algo") in ("FP8", "FP8_PER_CHANNEL_PER_TOKEN"):
        block = BLOCK
    elif method == "compressed-tensors":
        block = _groups(said, place)
    else:
        named = f"quant_method={method!r:.40}" + (
            f" with quant_algo={said['quant_algo']!r:.40}" if "quant_algo" in said else ""
        )
        raise UserError(
            place, f"{named} is not known: there are {KNOWN}", "take a version of the checkpoint in one of them, or in bf16"
        )
    if not (isinstance(block, list | tuple) and len(block) == 2 and all(isinstance(n, int) and 0 < n < 2**31 for n in block)):
        raise UserError(place, f"weight_block_size={block!r:.60} is no pair of sizes", "fetch it again")
    return (block[0], block[1])


def _groups(said: Theirs, place: str) -> object:
    """The block of compressed-tensors: of all its groups, which hold 8 bits for each weight, without a zero point."""
    groups = said.get("config_groups")
    found: list[Any] = list(groups.values()) if isinstance(groups, dict) else []
    weights = [g.get("weights") if isinstance(g, dict) else None for g in found]
    for one in weights:
        if (
            not isinstance(one, dict)
            or one.get("num_bits") != 8
            or one.get("symmetric", True) is not True
            or one.get("group_size")
        ):
            what = {n: one.get(n) for n in ("num_bits", "type", "symmetric", "group_size")} if isinstance(one, dict) else one
            raise UserError(
                place, f"compressed-tensors with weights={what!r:.120} is not known: there are {KNOWN}", "take bf16"
            )
    blocks = [one["block_structure"] for one in weights if isinstance(one, dict) and one.get("block_structure")]
    return blocks[0] if blocks else BLOCK


def _scaled(tensors: Tensors, name: str, block: tuple[int, int], where: str) -> Scaled:
    scale = next((f"{name}{end}" for end in SCALES if f"{name}{end}" in tensors.names), None)
    if scale is None:
        raise UserError(
            where,
            f"{name} is {tensors.dtype(name)}, and no {name}{SCALES[0]} or {SCALES[1]} is there",
            "fetch the whole folder",
        )
    shape, held = tensors.shape(name), tensors.shape(scale)
    counts = held + (1,) * (len(shape) - len(held))
    sizes = (1,) * (len(shape) - 2) + block[-len(shape) :] if len(shape) > 1 else block[:1] * len(shape)
    fits = len(counts) == len(shape) and all(
        c in (1, s) or c == -(-s // b) for c, s, b in zip(counts, shape, sizes, strict=True)
    )
    if not (fits or all(n == 1 for n in held)):
        said = f"{scale} is {_by(held)}, and {name} is {_by(shape)}, in blocks of {_by(block)}"
        raise UserError(where, f"a scale does not fit: {said}", "fetch the whole folder")
    own = tuple(1 if c in (1, s) else b for c, s, b in zip(counts, shape, sizes, strict=False))
    return Scaled(name, scale, shape, own)


def _packed(tensors: Tensors, name: str, where: str) -> Packed:
    scales = f"{name.removesuffix(BLOCKS)}{EXPONENTS}"
    shape = tensors.shape(name)
    if scales not in tensors.names or len(shape) != 4 or tensors.shape(scales) != shape[:-1] or tensors.dtype(scales) != "U8":
        said = f"{name} is {_by(shape)}, and {scales} of {_by(shape[:-1])} bytes is not there"
        raise UserError(where, said, "fetch the whole folder")
    experts, rows, groups, width = shape
    return Packed(name, scales, (experts, groups * width * 2, rows))


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"
