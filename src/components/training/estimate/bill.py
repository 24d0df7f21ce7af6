"""How long a number of tokens takes, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from components.core.errors import UserError
from components.training.estimate.accelerators import Accelerator
from components.training.estimate.estimating import Estimate
from components.training.estimate.layouts import FLOAT8, PRECISIONS

RECOMPUTED = 4 / 3  # a forward pass more: of layers, which are nearly all of it


@dataclass(frozen=True)
class Terms:
    """What is rented.

    Args:
        device: each of the accelerators.
        utilisation: share of its stated peak that the model's own FLOPs reach (MFU; Chowdhery et al. 2022, arXiv:2204.02311, appendix B).
        tokens: that the run reads.
        price: of one accelerator for an hour, in whatever currency.
        machine: accelerators of one machine, which its links join.
        network: GB/s that one accelerator sends to other machines.
    """

    device: Accelerator
    utilisation: float = 0.4
    tokens: float | None = None
    price: float | None = None
    machine: int = 8
    network: float = 50.0


@dataclass(frozen=True)
class Bill:
    """Of a run."""

    seconds_per_step: float
    tokens_per_second: float
    days: float | None
    device_hours: float | None
    cost: float | None


def computing(terms: Terms, estimate: Estimate) -> float:
    """Seconds of a step's products on all devices, at the utilisation of the stated peaks: that of fp8 for what is multiplied in it.

    Raises:
        UserError: no peak is stated.
    """
    wide, narrow = estimate.flops - estimate.flops8, estimate.flops8
    seconds = wide / peak_of_device(terms, estimate.layout.compute)
    if narrow:
        seconds += narrow / peak_of_device(terms, torch.float8_e4m3fn)
    return seconds / (estimate.layout.ranks * terms.utilisation)


def peak_of_device(terms: Terms, dtype: torch.dtype) -> float:
    """FLOP/s of products in ``dtype``.

    Raises:
        UserError: none are stated.
    """
    peak = terms.device.peak(dtype)
    if peak is None:
        name = str(dtype).removeprefix("torch.")
        stated = [
            n for n, (_, of) in PRECISIONS.items() if terms.device.peak(of) is not None and (n != FLOAT8 or terms.device.fp8)
        ]
        raise UserError(
            "--accelerator", f"no figure of {terms.device.name} in {name}", f"plan trainer.precision={' or '.join(stated)}"
        )
    return peak


def bill(estimate: Estimate, terms: Terms) -> Bill:
    """At the utilisation that is given, which says all that keeps a device from its peak: communication and recomputation among it."""
    seconds = computing(terms, estimate)
    rate = estimate.tokens / seconds
    if terms.tokens is None:
        return Bill(seconds, rate, None, None, None)
    hours = terms.tokens / rate / 3600
    held = hours * estimate.layout.ranks
    return Bill(seconds, rate, hours / 24, held, None if terms.price is None else held * terms.price)


def bound(estimate: Estimate, terms: Terms) -> float:
    """Tokens a second at most, to rank layouts by: of computing and sending the slower one, as if they hid each other wholly.

    Products at ``utilisation`` of the peak, a third more under activation checkpointing; bytes over the links of a machine where a group of ranks stands within
    one, else over the network.
    """
    again = RECOMPUTED if estimate.step.checkpointing else 1.0
    sending = sum(
        c.bytes / (1e9 * (terms.device.link if c.within <= terms.machine else terms.network)) for c in estimate.collectives
    )
    return estimate.tokens / max(computing(terms, estimate) * again, sending)


def lasting(terms: Terms | None, rate: float, ranks: int) -> dict[str, float]:
    """{"days": ..., "cost": ...} of the run's tokens at ``rate`` tokens a second on ``ranks`` devices; without what the terms do not say."""
    if terms is None or terms.tokens is None:
        return {}
    days = terms.tokens / rate / 86400
    return {"days": days, **({} if terms.price is None else {"cost": days * 24 * ranks * terms.price})}
