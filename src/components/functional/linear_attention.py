"""Linear recurrences with a matrix for a state, S_t = decay_t S_(t-1) + k_t^T v_t, o_t = q_t S_t: step by step, and in chunks.

Katharopoulos et al. 2020, arXiv:2006.16236; chunks: Hua et al. 2022, arXiv:2202.10447, Sun et al. 2023 (RetNet), arXiv:2307.08621, eq. 7;
decays per head: Dao & Gu 2024 (Mamba-2), arXiv:2405.21060; decays per channel: Yang et al. 2023 (GLA), arXiv:2312.06635, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.flops import Flops
from components.functional import chosen, watch
from components.functional.precision import at_least_fp32
from components.functional.sequential_scan import Given, States, exporting, sequential_scan

CHUNK = 64  # positions that are computed at once; a power of two
GONE = (
    -80.0
)  # log of a decay that leaves nothing; sums of greater ones would take away the digits of the small ones beside them
PAIRED = 4  # within so many positions, decays per channel are multiplied out pair by pair


def linear_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    *,
    state: Tensor | None = None,
    start: Tensor | None = None,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The recurrence as written, position by position. Decoding uses it. Arguments as in ``linear_attention``."""
    q, k, v, g = _quiet(q, k, v, g, valid)
    q, k = (y.repeat_interleave(v.shape[1] // y.shape[1], 1) for y in (q, k))
    s = empty_state(k, v) if state is None else state

    def step(states: States, given: Given) -> tuple[States, States]:
        (s,), (q, k, v, g, begins) = states, given
        if begins is not None:  # a document begins: what came before is forgotten
            s = s.masked_fill(begins[..., None, None], 0.0)
        if g is not None:
            decay = g.exp()
            s = s * (decay[..., None, None] if g.dim() == 2 else decay[..., None])
        s = s + k[..., None] @ v[:, :, None]
        return (s,), ((q[:, :, None] @ s)[:, :, 0],)

    (read,), (s,) = sequential_scan(step, (s,), (q, k, v, g, by_row(start)), 2)
    return read, s


def by_row(start: Tensor | None) -> Tensor | None:
    """(B, T) as (B, 1, T)."""
    return None if start is None else start[:, None]


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    *,
    state: Tensor | None = None,
    start: Tensor | None = None,
    valid: Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """o (B, H, T, V) and the last state (B, H, K, V), in fp32 at least: products within chunks, and one multiply-add of the state per chunk.

    Args:
        q, k: (B, G, T, K); each of the G groups serves H / G heads, one group a head where decays are per channel.
        v: (B, H, T, V).
        g: log of the decay, at most 0: (B, H, T) for each head, (B, H, T, K) for each channel of the key, or None: nothing decays.
        state: (B, H, K, V) before the first position; None: empty.
        start: (B, T) True where a document begins; None: nowhere.
        valid: (B, T) False at padding, which leaves the state alone.
        chunk: positions per chunk, a power of two; short sequences take less.
    """
    if watch.sink is not None:
        options = {"state": state, "start": start, "valid": valid}
        watch.sink("linear", rule=linear_attention, inputs=(q, k, v, g), value=2, time=2, options=options)
    if exporting():
        return linear_attention_reference(q, k, v, g, state=state, start=start, valid=valid)
    length, size = q.shape[2], chunk_for(q.shape[2], chunk)
    if chosen.heard is not None:
        chosen.tell("linear attention", *in_chunks_of(length, size))
    with torch.autocast(q.device.type, enabled=False):
        if length == 1:
            return linear_attention_reference(q, k, v, g, state=state, start=start, valid=valid)
        q, k, v, g = _quiet(q, k, v, g, valid)
        first = empty_state(k, v) if state is None else state
        marks = marks_of(start, length, size, q)
        channels = g is not None and g.dim() == 4
        q, k = (grouped(y, k.shape[1], size) for y in (q, k))
        g = None if g is None else grouped(g.clamp(min=GONE), k.shape[1], size, rows=not channels)
        v = grouped(v, k.shape[1], size)
        enter = None
        if channels:
            assert g is not None
            total = g.cumsum(-2)
            weights = channel_weights(q, k, total).masked_fill(~marks.pairs, 0.0)
            entering, leaving = q * total.exp(), k * (total[..., -1:, :] - total).exp()
            carry = total[..., -1, :, None].exp()
            read, written = weigh(entering, marks.early), weigh(leaving, marks.late).mT @ v
        else:
            weights, enter, leave, carry = head_decays(q @ k.mT, g, marks)
            read, written = q, k.mT @ weigh(v, marks.late if leave is None else leave)
        states = []
        s = first.unflatten(1, (k.shape[1], -1))
        for keep, new in zip(by_chunk(carry, marks.whole, v.shape[3]), written.unbind(3)):
            states.append(s)
            s = (s if keep is None else s * keep) + new
        before = read @ torch.stack(states, 3)
        if not channels:
            before = weigh(before, marks.early if enter is None else enter)
        out = before + weights @ v
        return out.flatten(1, 2).flatten(2, 3)[:, :, :length], s.flatten(1, 2)


def linear_attention_flops(length: int, groups: int, heads: int, key: int, value: int, *, channels: bool = False) -> Flops:
    """Of ``linear_attention`` for one row; the algorithm is the recurrence: k^T v and q S for every head and position."""
    state = 4 * heads * key * value
    if length == 1:
        return Flops(state, state)
    size = chunk_for(length, CHUNK)
    scores = channel_weights_flops(size, key) * heads if channels else 2 * size * size * key * groups
    chunk = scores + 2 * size * size * value * heads + size * state
    return Flops(-(-length // size) * chunk, length * state)


def channel_weights(q: Tensor, k: Tensor, total: Tensor) -> Tensor:
    """(..., L, L): sum over channels of q_i k_j exp(total_i - total_j) for j <= i, else 0. All (..., L, K); ``total`` falls along L.

    Neither factor alone may be split off: exp(-total_j) overflows. Pairs of neighbours are multiplied out. Then blocks are joined two by two:
    decays from the left one to its end, and from there into the right one, are both at most 1, so a product of matrices gives their cross terms.
    """
    length, size = q.shape[-2], min(q.shape[-2], PAIRED)
    a, b, t = (y.unflatten(-2, (-1, size)) for y in (q, k, total))
    later = torch.ones(size, size, dtype=torch.bool, device=q.device).triu(1)[..., None]
    decay = (t[..., :, None, :] - t[..., None, :, :]).masked_fill(later, -torch.inf).exp()
    weights = (decay * a[..., :, None, :] * b[..., None, :, :]).sum(-1)
    while size < length:
        a, b, t = (y.unflatten(-2, (-1, 2, size)) for y in (q, k, total))
        middle = t[..., 0, -1:, :]
        cross = (a[..., 1, :, :] * (t[..., 1, :, :] - middle).exp()) @ (b[..., 0, :, :] * (middle - t[..., 0, :, :]).exp()).mT
        left, right = weights.unflatten(-3, (-1, 2)).unbind(-3)
        weights = torch.cat((F.pad(left, (0, size)), torch.cat((cross, right), -1)), -2)
        size *= 2
    return weights.squeeze(-3)


def channel_weights_flops(size: int, key: int) -> int:
    """Of ``channel_weights`` for one chunk of one head, neighbours left out as ``torch`` counts."""
    return size * (size - min(size, PAIRED)) * key


class Marks(NamedTuple):
    """What borders of documents do to chunks of L positions: (B, 1, 1, N, ...) where there are any, else None.

    ``pairs``: (L, L) or (B, 1, 1, N, L, L), key not later than the query and of its document; ``early``, ``late``: (..., L) of the document that was going
    on at the chunk's begin, that is going on at its end; ``whole``: (..., 1, 1) these are the same.
    """

    pairs: Tensor
    early: Tensor | None
    late: Tensor | None
    whole: Tensor | None


def marks_of(start: Tensor | None, length: int, size: int, like: Tensor) -> Marks:
    """(B, T) True where a document begins -> what follows from it for chunks of ``size``."""
    pairs = torch.ones(size, size, dtype=torch.bool, device=like.device).tril()
    if start is None:
        return Marks(pairs, None, None, None)
    begun = F.pad(start, (0, -length % size)).unflatten(1, (-1, size)).long().cumsum(-1)[:, None, None]
    pairs = pairs & (begun[..., :, None] == begun[..., None, :])
    early, late = ((begun == edge).to(like.dtype) for edge in (0, begun[..., -1:]))
    return Marks(pairs, early, late, early[..., -1:, None])


def head_decays(scores: Tensor, g: Tensor | None, marks: Marks) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Scores (..., L, L) with their decays and without what is not seen; decay from the chunk's begin and to its end (..., L); of all of it (..., 1, 1)."""
    if g is None:
        return scores.masked_fill(~marks.pairs, 0.0), None, None, None
    total = g.cumsum(-1)
    decay = (total[..., :, None] - total[..., None, :]).masked_fill(~marks.pairs, -torch.inf).exp()
    enter, leave = total.exp(), (total[..., -1:] - total).exp()
    carry = enter[..., -1:, None]
    if marks.early is not None and marks.late is not None:
        enter, leave = enter * marks.early, leave * marks.late
    return scores * decay, enter, leave, carry


def by_chunk(carry: Tensor | None, whole: Tensor | None, chunks: int) -> Sequence[Tensor | None]:
    """The share of the state that each chunk keeps. Unbound at once: a slice for each chunk would cost a full gradient for
    each."""
    keep = whole if carry is None else carry if whole is None else carry * whole
    return [None] * chunks if keep is None else keep.unbind(3)


def in_chunks_of(length: int, size: int) -> tuple[str, str]:
    """How a recurrence over so many positions is computed, and why."""
    if length == 1:
        return "the recurrence", "one position at a time"
    return f"in chunks of {size}", "products of matrices instead of a step for each position"


def chunk_for(length: int, chunk: int) -> int:
    """``chunk``, halved while the sequence fits into the half."""
    while chunk >= 2 * length:
        chunk //= 2
    return chunk


def grouped(y: Tensor, groups: int, size: int, rows: bool = False) -> Tensor:
    """(B, H, T, C) -> (B, G, H / G, N, L, C), zeros behind the last; with ``rows`` (B, H, T) -> (B, G, H / G, N, L)."""
    missing = -y.shape[2] % size
    y = F.pad(y, (0, missing) if rows else (0, 0, 0, missing)) if missing else y
    return y.unflatten(2, (-1, size)).unflatten(1, (groups, -1))


def weigh(y: Tensor, weight: Tensor | None) -> Tensor:
    """Each vector of y times its own number."""
    return y if weight is None else y * weight[..., None]


def empty_state(k: Tensor, v: Tensor) -> Tensor:
    return v.new_zeros(v.shape[0], v.shape[1], k.shape[-1], v.shape[-1])


def silenced(y: Tensor, valid: Tensor | None) -> Tensor:
    """y (B, H, T) or (B, H, T, C) in fp32 at least, 0 at padding."""
    y = at_least_fp32(y)
    if valid is None:
        return y
    hidden = ~valid[:, None]
    return y.masked_fill(hidden if y.dim() == 3 else hidden[..., None], 0.0)


def _quiet(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, valid: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """All in fp32 at least; padding writes nothing and lets nothing decay."""
    return at_least_fp32(q), silenced(k, valid), silenced(v, valid), None if g is None else silenced(g, valid)
