"""Model FLOPs utilisation: the work that the model's definition asks for, over what the device can do.

Work per token, forward and backward: 6 FLOPs for each weight that multiplies (embedding tables are looked up, so they count
only where the head uses them), plus 6 x layers x d_model x context for causal attention scores and their sums (half of the full square).
Recomputation under activation checkpointing is not counted. The peak is the product of matrices in the same dtype, measured once
on a CPU, and the maker's dense figure on known GPUs.
"""

from __future__ import annotations

import time

import torch
from torch import nn

from components.sockets import Layer
from components.weights import roles

# dense bf16 FLOP/s as the makers state them, by a piece of the device's name
PEAKS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "B200": 2250e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "V100": 125e12,
    "T4": 65e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


def flops_per_token(model: nn.Module, context_length: int) -> float:
    """Forward and backward, as the module's docstring counts them."""
    weights = list(roles(model))
    counted = sum(w.parameter.numel() for w in weights if w.role != "embedding")
    tables = [w.parameter for w in weights if w.role == "embedding"]
    if tables and not any(w.role == "head" for w in weights):
        counted += tables[0].numel()  # a tied head multiplies by the first table
    d_model = tables[0].shape[-1] if tables else 0
    layers = sum(isinstance(m, Layer) for m in model.modules())
    return 6.0 * counted + 6.0 * layers * d_model * context_length


def peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """FLOP/s of one device in ``dtype``; None where nothing is known (then no utilisation is shown)."""
    if device.type == "cpu":
        return _measured(dtype)
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        found = next((peak for piece, peak in PEAKS.items() if piece in name), None)
        return found if found is None or dtype != torch.float32 else found / 2
    return None


def _measured(dtype: torch.dtype, size: int = 768, seconds: float = 0.15) -> float:
    a = torch.ones(size, size, dtype=dtype)  # no random numbers: the run's own must not move
    out = a @ a
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, a, out=out)
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best
