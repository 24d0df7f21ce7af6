"""Watching: what the kernels were asked to compute, told to whoever listens; without a listener it costs the reading of a global.

A kernel says ``if watch.sink is not None: watch.sink("softmax", q=q, ...)`` before it computes, in words of the list below. What was asked
is told, not what came out, so that a listener computes weights by the plain formula, whichever kernel was chosen. A global and no context
variable: ``torch.compile`` guards it, and a compiled layer has no trace of it.

    softmax    q, k, v, spec, bias, scale, soft_cap, sinks as ``attend`` takes them
    weights    weights (B, H, Tq, Tk) that a part made itself, and v (B, H, Tk, K) that they read; q, k where it has them
    linear     rule, inputs, value (which of the inputs is v), time (v's axis of positions), options: ``rule(*inputs, **options)[0]`` is linear in v
    scan       log_a, log_b (B, T, H): h_t = a_t h_(t-1) + b_t channel by channel
    mixed      matrix (H_out, H_in): heads of what was just read, added up with these factors
    divided    total (B, H, T, 1): what was just read is divided by it; anything read before that was for the divisor
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Sink = Callable[..., None]

sink: Sink | None = None


@contextmanager
def watching(listener: Sink | None) -> Iterator[None]:
    """``listener(word, **found)`` hears every kernel until the end of the block; None: nobody does."""
    global sink
    before, sink = sink, listener
    try:
        yield
    finally:
        sink = before
