"""Lets a listener see what the kernels are asked to compute. Without a listener it only costs reading a global.

A kernel calls ``if watch.sink is not None: watch.sink("softmax", q=q, ...)`` before it computes, with a word of the list below.
It passes its inputs, not its result, so a listener can compute the weights by the plain formula, whichever kernel was chosen. The
sink is a global and not a context variable: ``torch.compile`` guards it, and a compiled layer has no trace of it.

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
    """Call ``listener(word, **found)`` for every kernel until the end of the block. None: no listener."""
    global sink
    before, sink = sink, listener
    try:
        yield
    finally:
        sink = before
