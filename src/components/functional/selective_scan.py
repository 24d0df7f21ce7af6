"""A state of N numbers for each channel, each with a decay of its own that the input chooses: step by step, and many steps at once.

h_t = exp(dt_t A) h_(t-1) + dt_t B_t x_t and y_t = C_t h_t. Gu & Dao 2023 (Mamba), arXiv:2312.00752, section 3; what the backward pass keeps and computes
again is section 3.3.2. Two levels of a scan: Blelloch 1990
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, FunctionCtx, once_differentiable

from components.core.flops import Flops
from components.functional import chosen
from components.functional.linear_attention import in_chunks_of
from components.functional.precision import at_least_fp32
from components.functional.sequential_scan import Given, States, exporting, sequential_scan

CHUNK = 8  # positions of a chunk; all chunks of a segment go on side by side
AT_ONCE, ON_CPU = (
    2**26,
    2**21,
)  # numbers of all states in memory at once: what keeps a device busy; on a CPU, what its cache holds


def selective_scan_reference(
    x: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    *,
    state: Tensor | None = None,
    start: Tensor | None = None,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The recurrence as written, position by position. Decoding uses it. Arguments as in ``selective_scan``."""
    x, dt, b, c = _quiet(x, dt, b, c, valid)
    h = _empty(x, a) if state is None else state

    def step(states: States, given: Given) -> tuple[States, States]:
        (h,), (x, dt, b, c, begins) = states, given
        if begins is not None:  # a document begins: what came before is forgotten
            h = h.masked_fill(begins[:, None, None], 0.0)
        h = (dt[..., None] * a).exp() * h + (dt * x)[..., None] * b[:, None]
        return (h,), ((h @ c[..., None])[..., 0],)

    (read,), (h,) = sequential_scan(step, (h,), (x, dt, b, c, start), 1)
    return read.transpose(1, 2), h


def selective_scan(
    x: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    *,
    state: Tensor | None = None,
    start: Tensor | None = None,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """y (B, H, T) and the last state (B, H, N), in fp32 at least. The states between are in memory a segment at a time.

    Args:
        x: (B, H, T), a number of each channel.
        dt: (B, H, T), at least 0: how far each channel goes on.
        a: (H, N), below 0: the rate of forgetting.
        b, c: (B, N, T), what writes into the state and what reads from it.
        state: (B, H, N) before the first position; None: empty.
        start: (B, T) True where a document begins; None: nowhere.
        valid: (B, T) False at padding, which leaves the state alone.
    """
    if exporting():
        return selective_scan_reference(x, dt, a, b, c, state=state, start=start, valid=valid)
    length = x.shape[2]
    if chosen.heard is not None:
        chosen.tell("selective scan", *in_chunks_of(length, CHUNK))
    with torch.autocast(x.device.type, enabled=False):
        if length == 1:
            return selective_scan_reference(x, dt, a, b, c, state=state, start=start, valid=valid)
        x, dt, b, c = _quiet(x, dt, b, c, valid)
        first = _empty(x, a) if state is None else state
        keep = None if start is None else (~start).to(x.dtype)
        y, last = _Scan.apply(x, dt, a, b, c, first, keep)
        return y.transpose(1, 2), last


def selective_scan_flops(length: int, channels: int, size: int) -> Flops:
    """Of ``selective_scan`` for one row: C_t h_t of every channel and position; what writes and decays is no product of matrices."""
    read = 2 * channels * size * length
    return Flops(read, read)


class _Segment(NamedTuple):
    """Inputs of some positions: x, dt (B, S, H), b, c (B, S, N), ``keep`` (B, S) 0 where a document begins, or None."""

    x: Tensor
    dt: Tensor
    b: Tensor
    c: Tensor
    keep: Tensor | None

    def decays(self, a: Tensor) -> Tensor:
        """(B, S, H, N): the share of the state before it that each position keeps."""
        decay = (self.dt[..., None] * a).exp_()
        return decay if self.keep is None else decay.mul_(self.keep[..., None, None])

    def written(self) -> Tensor:
        """(B, S, H, N)."""
        return (self.dt * self.x)[..., None] * self.b[:, :, None]


def _segments(x: Tensor, dt: Tensor, b: Tensor, c: Tensor, keep: Tensor | None) -> list[_Segment]:
    """Of as many positions as may be in memory at once, whole chunks."""
    most = (ON_CPU if x.device.type == "cpu" else AT_ONCE) // (x[:, 0].numel() * b.shape[2])
    size = max(most // CHUNK, 1) * CHUNK
    parts = [y.split(size, 1) for y in (x, dt, b, c)]
    borders = [None] * len(parts[0]) if keep is None else keep.split(size, 1)
    return [_Segment(*found) for found in zip(*parts, borders, strict=True)]


def _states(decay: Tensor, written: Tensor, first: Tensor) -> Tensor:
    """All h_t = decay_t h_(t-1) + written_t from ``first`` (B, H, N) on: (B, S, H, N). Both arguments are used up.

    Chunks run side by side as if each began empty, so S positions take 2 sqrt(S) steps or so; then each is given what the one before it ended with.
    """
    length = decay.shape[1]
    size = min(CHUNK, length)
    whole = length // size * size
    d, h = (y[:, :whole].unflatten(1, (-1, size)) for y in (decay, written))
    for i in range(1, size):
        h[:, :, i].addcmul_(d[:, :, i], h[:, :, i - 1])
        d[:, :, i].mul_(d[:, :, i - 1])
    for n in range(whole // size):
        h[:, n].addcmul_(d[:, n], first[:, None])
        first = h[:, n, -1]
    for t in range(whole, length):
        written[:, t].addcmul_(decay[:, t], first)
        first = written[:, t]
    return written


class _Scan(torch.autograd.Function):
    """Keeps the inputs and the state before each segment; the backward pass computes the others again, one segment at a time."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, first: Tensor, keep: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        read, begun, h = [], [], first
        for part in _segments(x, dt, b, c, keep):
            begun.append(h)
            states = _states(part.decays(a), part.written(), h)
            read.append((states @ part.c[..., None])[..., 0])
            h = states[:, -1].clone()  # a view would keep all states in memory
        ctx.save_for_backward(x, dt, a, b, c, keep, *begun)  # type: ignore[arg-type]  # None is kept as None, which the stub does not say
        return torch.cat(read, 1), h

    @staticmethod
    @once_differentiable
    def backward(ctx: BackwardCFunction, grad_y: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]  # the decorator hides the signature
        saved = list[Tensor](ctx.saved_tensors)  # the stub says that it is one tensor
        x, dt, a, b, c, keep, *begun = saved
        found: list[tuple[Tensor, ...]] = []
        grad_a, later = torch.zeros_like(a), grad_last  # of the state after the segment, from all that comes after it
        parts = _segments(x, dt, b, c, keep)
        grads = grad_y.split(parts[0].x.shape[1], 1)
        for part, first, grad in reversed(list(zip(parts, begun, grads, strict=True))):
            decay = part.decays(a)
            before = torch.cat((first[:, None], _states(decay.clone(), part.written(), first)), 1)
            # the states' gradients are a scan of the same decays, from right to left
            asked = grad[..., None] * part.c[:, :, None]
            asked[:, -1] += later
            shifted = torch.cat((torch.ones_like(decay[:, :1]), decay[:, 1:].flip(1)), 1)
            g = _states(shifted, asked.flip(1), torch.zeros_like(first)).flip(1)
            later = decay[:, 0] * g[:, 0]
            grad_c = (grad[:, :, None] @ before[:, 1:])[:, :, 0]
            step = part.dt * part.x
            grad_b = (step[:, :, None] @ g)[:, :, 0]
            grad_step = (g @ part.b[..., None])[..., 0]
            rate = g.mul_(before[:, :-1]).mul_(decay)  # of the exponent dt A
            grad_dt = torch.einsum("bshn,hn->bsh", rate, a) + grad_step * part.x
            grad_a += torch.einsum("bshn,bsh->hn", rate, part.dt)
            found.append((grad_step * part.dt, grad_dt, grad_b, grad_c))
        grad_x, grad_dt, grad_b, grad_c = (torch.cat(pieces[::-1], 1) for pieces in zip(*found, strict=True))
        return grad_x, grad_dt, grad_a, grad_b, grad_c, later, None


def _empty(x: Tensor, a: Tensor) -> Tensor:
    return x.new_zeros(x.shape[0], *a.shape)


def _quiet(x: Tensor, dt: Tensor, b: Tensor, c: Tensor, valid: Tensor | None) -> list[Tensor]:
    """Positions before channels, all in fp32 at least; at padding the state goes no way on."""
    x, dt, b, c = (at_least_fp32(y).transpose(1, 2) for y in (x, dt, b, c))
    return [x, dt if valid is None else dt.masked_fill(~valid[..., None], 0.0), b, c]
