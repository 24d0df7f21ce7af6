"""Casts that autocast leaves to us, and the precision that a device supports."""

from __future__ import annotations

import platform

import torch
from torch import Tensor

NO_DOUBLES = ("mps",)  # kinds of device without fp64


def widest(device: torch.device) -> torch.dtype:
    """fp64, or fp32 on a device that has no doubles."""
    return torch.float32 if device.type in NO_DOUBLES else torch.float64


def multiplies_bf16(kind: str) -> bool:
    """Whether a kind of device, ``cpu`` or ``cuda``, has products of bf16; without them bf16 is several times slower than fp32. True of unknown ones."""
    if kind == "cpu":
        if platform.machine().lower() in ("x86_64", "amd64"):
            return torch.cpu._is_avx512_bf16_supported()
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def at_least_fp32(x: Tensor) -> Tensor:
    """x in fp32 where it is a half precision, else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def cast_once(x: Tensor) -> Tensor:
    """x in autocast's dtype, where autocast is on: for an input that several linear maps read, since autocast would cast, and keep, a copy for each."""
    kind = x.device.type
    if x.dtype == torch.float32 and kind != "meta" and torch.is_autocast_enabled(kind):
        return x.to(torch.get_autocast_dtype(kind))
    return x
