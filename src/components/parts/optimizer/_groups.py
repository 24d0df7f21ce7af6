"""Parameter groups by role: which weights decay, and under which learning rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from components.core.weights import Weight
from components.functional import chosen

# Scales, biases and what no matrix is are never decayed: pulling a gain towards zero changes the function, not its complexity.
DECAYED = ("hidden", "out", "head", "router")
# Where torch has a fused AdamW. On a CPU it is five times as fast as the loop.
FUSED_DEVICES = ("cpu", "cuda", "xpu", "mps", "hpu", "mtia")


def decay_groups(weights: Iterable[Weight], *, lr: float, weight_decay: float, decay_embedding: bool) -> list[dict[str, Any]]:
    """Groups of decayed weights, then of the others, one for each rate among them. Frozen parameters belong to none.

    A group's decay is divided by its ``lr_scale`` (muP), so that a step takes the same share of each decayed matrix at every width; what
    the tuning slows down decays more slowly too.
    """
    decayed = (*DECAYED, "embedding") if decay_embedding else DECAYED
    groups: dict[tuple[bool, float, float], dict[str, Any]] = {}
    for w in sorted((w for w in weights if w.parameter.requires_grad), key=lambda w: w.role not in decayed):
        key = (w.role in decayed, w.lr_scale, w.rate)
        if key not in groups:
            decay, own = weight_decay / w.lr_scale if key[0] else 0.0, lr * w.lr_scale * w.rate
            groups[key] = {"params": [], "weight_decay": decay, "lr": own, "initial_lr": own}
        groups[key]["params"].append(w.parameter)
    return list(groups.values())


def checked_betas(betas: Sequence[float]) -> tuple[float, float]:
    """AdamW's two decays. ValueError unless each is in [0, 1)."""
    if len(betas) != 2 or not all(0.0 <= b < 1.0 for b in betas):
        raise ValueError(f"betas={list(betas)}: two decays, each at least 0 and below 1")
    return betas[0], betas[1]


def fuses(groups: Iterable[dict[str, Any]], *, asked: bool) -> bool:
    """Whether the fused kernel is asked for, and every parameter is a floating-point tensor on a device that has it."""
    parameters: list[Tensor] = [p for g in groups for p in g["params"]]
    able = all(p.device.type in FUSED_DEVICES and torch.is_floating_point(p) for p in parameters)
    if chosen.heard is not None:
        why = "torch has the kernel for their device" if able else "torch has no fused kernel for their device"
        chosen.tell("AdamW", "fused" if asked and able else "torch's loop over weights", why if asked else "fused=false")
    return asked and able


def refuse_none(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups, if they hold anything to train."""
    if not groups:
        raise ValueError("all parameters are frozen: nothing is left to train")
    return groups
