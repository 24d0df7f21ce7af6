"""Model FLOPs utilisation: the work that the model's definition needs, over what the device can do.

The work is what the parts report for their algorithms (``core/flops.py``), without cells that a mask hides and without recomputation under
activation checkpointing. The peak is that of matrix products in the same dtype: measured once on a CPU, the vendor's dense figure on known GPUs.
"""

from __future__ import annotations

import time
from functools import cache

import torch
from lightning.pytorch import Trainer

from components.training.estimate.accelerators import by_device_name


def peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """FLOP/s of one device in ``dtype``; None if unknown (then no utilisation is shown)."""
    if device.type == "cpu":
        return _measured(dtype, torch.get_num_threads())
    if device.type == "cuda":
        # where fp32 is multiplied as TF32, the fp32 peak is the wrong measure
        plain = dtype != torch.float32 or torch.get_float32_matmul_precision() == "highest"
        return stated_peak(torch.cuda.get_device_name(device), dtype) if plain else None
    return None


def stated_peak(name: str, dtype: torch.dtype) -> float | None:
    """The maker's figure for the device that its driver calls ``name``."""
    found = by_device_name(name)
    return None if found is None else found.peak(dtype)


def multiplied_in(trainer: Trainer) -> torch.dtype:
    """The dtype of matrix products under the trainer's precision."""
    precision = str(trainer.precision)
    if "bf16" in precision or getattr(trainer.strategy, "compute", None) is torch.bfloat16:
        return torch.bfloat16
    return {"16": torch.float16, "64": torch.float64}.get(precision.split("-")[0], torch.float32)


@cache
def _measured(dtype: torch.dtype, threads: int, size: int = 768, seconds: float = 0.15) -> float:  # noqa: ARG001  the peak of so many threads
    a = torch.ones(size, size, dtype=dtype)  # no random numbers: those of the run must not change
    out = a @ a
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, a, out=out)
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best
