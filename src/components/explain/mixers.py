"""How much of each position a mixer reads: softmax weights by the plain formula, equivalent weights of linear reads, gradients of the rest.

A read that is linear in its values, o_t = sum_s w_ts v_s, has a matrix whether or not it was ever made: with v_s = e_s, the s-th unit vector, row t
of the read *is* w_t. Delta rules: Yang et al. 2024, arXiv:2406.06484; state-space models as attention: Ali et al. 2024, arXiv:2403.01590
"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from components.core.sockets import SequenceInfo
from components.explain.reading import EQUIVALENT, GRADIENT, HOW, SHARE, SOFTMAX, Reading, repeated
from components.explain.recorder import Arguments, Call, KernelCall
from components.functional.linear_attention import linear_attention
from components.functional.watch import watching

__all__ = ["EQUIVALENT", "GRADIENT", "HOW", "SHARE", "SOFTMAX", "Reading", "batch_readings", "readings", "repeated"]

PROBES = 16  # random directions by which |dy/dx| is estimated where the stream is wider


def readings(call: Call) -> list[Reading]:
    """Of one call of an attention part, for the first row of its batch; two where a mixer reads both ways."""
    return [r.of_row(0) for r in batch_readings(call)] or [by_gradient(call)]


def batch_readings(call: Call) -> list[Reading]:
    """Of one call, for all rows of its batch; empty where no kernel told what it was asked, so that there are no weights."""
    with torch.no_grad(), watching(None):
        found: list[Reading] = []
        turned: list[bool] = []
        for kernel in call.kernels:
            if kernel.word == "mixed":
                found[-1] = mixed(found[-1], kernel.found["matrix"])
            elif kernel.word == "divided":
                found, turned = [divided(found[-1], kernel)], turned[-1:]
            else:
                found.append(READ[kernel.word](kernel.found))
                turned.append(kernel.backwards)
        return [flipped(r) if back else r for r, back in zip(found, turned)]


def softmax_weights(found: Arguments) -> Reading:
    """As ``functional.attention.reference``, with every intermediate kept."""
    q, k, v = (found[n] for n in ("q", "k", "v"))
    rows, heads, tq, width = q.shape
    tk = k.shape[-2]
    scale = width**-0.5 if found["scale"] is None else float(found["scale"])
    scores = q.double() @ repeated(k, heads).double().transpose(-1, -2) * scale
    if found["soft_cap"] is not None:
        scores = found["soft_cap"] * torch.tanh(scores / found["soft_cap"])
    bias = found["bias"]
    spec = found["spec"]
    seen = torch.ones(1, 1, tq, tk, dtype=torch.bool, device=q.device) if spec.sees_all(tq, tk) else spec.dense(q.device)
    bias = None if bias is None else bias.expand(-1, -1, tq, tk)
    if bias is not None:
        seen, bias = seen_through(bias, seen)
    if bias is not None:
        scores = scores + bias.double()
    scores = scores.masked_fill(~seen, -math.inf)
    sinks = found["sinks"]
    if sinks is not None:
        scores = torch.cat((scores, sinks.double()[:, None, None].expand(rows, -1, tq, 1)), -1)
    weights = scores.softmax(-1)[..., :tk].to(v.dtype)
    return Reading(SOFTMAX, weights, v, q, k, seen, bias, scale, found["soft_cap"], sinks)


def seen_through(bias: Tensor, seen: Tensor) -> tuple[Tensor, Tensor | None]:
    """(what is seen, the bias where it is): a bias of -inf hides a key, as one that a query did not choose. None: it does nothing else."""
    hidden = bias.isneginf()
    if not hidden.any():
        return seen, bias
    bias = bias.masked_fill(hidden, 0.0)
    return seen & ~hidden, bias if bias.any() else None


def made_weights(found: Arguments) -> Reading:
    """Weights that the part made itself."""
    return Reading(SOFTMAX, found["weights"], found["v"], found["q"], found["k"])


def linear_weights(found: Arguments) -> Reading:
    """``rule`` with each position's value replaced by its own unit vector; weights (H, T, T)."""
    inputs, at, time = list(found["inputs"]), found["value"], found["time"]
    value = inputs[at]
    length = value.shape[time]
    shape = [1] * value.dim()
    shape[time], shape[-1] = length, length
    inputs[at] = torch.eye(length, dtype=value.dtype, device=value.device).view(shape).expand(*value.shape[:-1], length)
    read = found["rule"](*inputs, **found["options"])[0]
    if time == 1:
        read, value = read.transpose(1, 2), value.transpose(1, 2)
    reading = Reading(EQUIVALENT, read, value)
    if found["rule"] is not linear_attention or (inputs[3] is not None and inputs[3].dim() == 4):
        return reading  # corrections and rates per channel: no weight is one product of a query and a key
    decay = None if inputs[3] is None else inputs[3].cumsum(-1)
    return replace(reading, q=inputs[0], k=inputs[1], decay=decay)


def scan_weights(found: Arguments) -> Reading:
    """h_t = sum_s (a_t ... a_(s+1)) b_s per channel: how much of |h_t| came from each s, mean over channels. One head."""
    log_a, log_b = found["log_a"].double(), found["log_b"].double()
    sums = log_a.cumsum(1)
    length = sums.shape[1]
    logs = sums[:, :, None] - sums[:, None] + log_b[:, None]  # (B, T, T, channels)
    later = torch.ones(length, length, dtype=torch.bool, device=sums.device).triu(1)[..., None]
    share = logs.masked_fill(later, -math.inf).softmax(2).mean(-1)
    return Reading(SHARE, share[:, None].to(found["log_a"].dtype))


READ = {"softmax": softmax_weights, "weights": made_weights, "linear": linear_weights, "scan": scan_weights}


def mixed(reading: Reading, matrix: Tensor) -> Reading:
    """Heads as the sums of maps that the part makes of them."""
    matrix = matrix.to(reading.weights.dtype)
    weights = torch.einsum("hm,bmqk->bhqk", matrix, reading.weights)
    values = None if reading.values is None else repeated(reading.values, matrix.shape[1])[:, : matrix.shape[0]]
    return replace(reading, weights=weights, values=values, mixing=matrix, maps=reading.weights)


def divided(reading: Reading, kernel: KernelCall) -> Reading:
    """What was read, over the sum of its weights."""
    total = kernel.found["total"]
    values = reading.values
    if values is not None and values.shape[-1] > 1 and bool((values[..., -1] == 1).all()):
        values = values[..., :-1]  # the column of ones summed the weights
    return replace(reading, weights=reading.weights / total, values=values, divisor=total[..., 0])


def flipped(reading: Reading) -> Reading:
    """The reading of a reversed sequence in the order of the sequence."""

    def turned(x: Tensor | None, *axes: int) -> Tensor | None:
        return None if x is None else x.flip(axes)

    r = reading
    return replace(
        r,
        weights=r.weights.flip(-1, -2),
        seen=turned(r.seen, -1, -2),
        bias=turned(r.bias, -1, -2),
        maps=turned(r.maps, -1, -2),
        values=turned(r.values, -2),
        q=turned(r.q, -2),
        k=turned(r.k, -2),
        decay=turned(r.decay, -1),
        divisor=turned(r.divisor, -1),
    )


def by_gradient(call: Call) -> Reading:
    """|d y_t / d x_s| (Frobenius) of the part itself, rows scaled to sum 1. Estimated by random directions where the stream is wide."""
    assert call.info is not None
    x = call.x[:1].detach()
    length, width = x.shape[1:]
    # row t is asked for position t alone, so that one backward pass serves all positions
    rows = x.expand(length, -1, -1).clone().requires_grad_(True)
    info = widened(call.info, length)
    exact = width <= PROBES
    generator = torch.Generator().manual_seed(0)
    squares = torch.zeros(length, length, dtype=torch.float64)
    at = torch.arange(length)
    with torch.enable_grad(), watching(None):
        y = call.module(rows, info)[at, at]
        for n in range(width if exact else PROBES):
            probe = torch.eye(width)[n] if exact else torch.randn(width, generator=generator)
            (gradient,) = torch.autograd.grad((y * probe.to(y.dtype)).sum(), rows, retain_graph=True)
            squares += gradient.double().square().sum(-1)
    norms = squares.sqrt()
    weights = norms / norms.sum(-1, keepdim=True).clamp(min=1e-30)
    return Reading(GRADIENT, weights[None].to(x.dtype))


def widened(info: SequenceInfo, rows: int) -> SequenceInfo:
    """The info of one sequence, for ``rows`` copies of it."""
    changes: dict[str, Any] = {
        f.name: wide(getattr(info, f.name), rows) for f in fields(info) if f.name not in ("memo", "out", "cache")
    }
    return replace(info, **changes, memo={}, out={}, cache=None)


def wide(value: object, rows: int) -> object:
    """Every tensor of one row in ``value`` as ``rows`` rows."""
    if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == 1:
        return value.expand(rows, *value.shape[1:])
    if isinstance(value, SequenceInfo):
        return widened(value, rows)
    if isinstance(value, tuple):
        return tuple(wide(v, rows) for v in value)
    return {n: wide(v, rows) for n, v in value.items()} if isinstance(value, dict) else value
