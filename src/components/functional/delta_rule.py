"""The delta rule: each step corrects the state towards v_t where k_t reads it. Computed step by step, and in chunks.

S_t = a_t S_(t-1) + k_t^T b_t (v_t - k_t a_t S_(t-1)), o_t = q_t S_t. Schlag et al. 2021, arXiv:2102.11174; chunks by the WY form: Yang et al. 2024,
arXiv:2406.06484, section 3; with decays a_t per head: Yang et al. 2024, arXiv:2412.06464, section 3.3; per channel of the key, a diagonal matrix for a_t:
Kimi Team 2025, arXiv:2510.26692, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.core.flops import Flops
from components.functional import chosen, watch
from components.functional.linear_attention import (
    CHUNK,
    GONE,
    by_chunk,
    by_row,
    channel_weights,
    channel_weights_flops,
    chunk_for,
    empty_state,
    grouped,
    head_decays,
    in_chunks_of,
    marks_of,
    silenced,
    weigh,
)
from components.functional.precision import at_least_fp32
from components.functional.sequential_scan import Given, States, exporting, sequential_scan


def delta_rule_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None = None,
    *,
    state: Tensor | None = None,
    start: Tensor | None = None,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The recurrence as written, position by position. Decoding uses it. Arguments as in ``delta_rule``."""
    q, k, v, beta = at_least_fp32(q), silenced(k, valid), silenced(v, valid), silenced(beta, valid)
    g = None if g is None else silenced(g, valid)
    q, k = (y.repeat_interleave(v.shape[1] // y.shape[1], 1) for y in (q, k))
    s = empty_state(k, v) if state is None else state

    def step(states: States, given: Given) -> tuple[States, States]:
        (s,), (q, k, v, beta, g, begins) = states, given
        if begins is not None:  # a document begins: what came before is forgotten
            s = s.masked_fill(begins[..., None, None], 0.0)
        if g is not None:
            s = s * (g[..., None, None] if g.dim() == 2 else g[..., None]).exp()
        error = v[:, :, None] - k[:, :, None] @ s
        s = s + k[..., None] @ (beta[..., None, None] * error)
        return (s,), ((q[:, :, None] @ s)[:, :, 0],)

    (read,), (s,) = sequential_scan(step, (s,), (q, k, v, beta, g, by_row(start)), 2)
    return read, s


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None = None,
    *,
    state: Tensor | None = None,
    start: Tensor | None = None,
    valid: Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """o (B, H, T, V) and the last state (B, H, K, V), in fp32 at least.

    Within a chunk the corrections depend on one another: u_i = b_i (v_i - k_i S - sum over j < i of (k_i . k_j) u_j), decays left out. These are unit triangular
    systems, solved for all chunks at once by forward substitution (``torch.linalg.solve_triangular``), which no length of keys makes unstable, as
    the products of an explicit inverse would be. The state then passes from chunk to chunk, two products for each.

    Args:
        q, k: (B, G, T, K); each of the G groups serves H / G heads, one group a head where decays are per channel.
        v: (B, H, T, V).
        beta: (B, H, T) the share of the error that is corrected.
        g: log of the decay, at most 0: (B, H, T) for each head, (B, H, T, K) for each channel of the key, or None: nothing decays.
        state, start, valid, chunk: as in ``linear_attention``.
    """
    if watch.sink is not None:
        options = {"state": state, "start": start, "valid": valid}
        watch.sink("linear", rule=delta_rule, inputs=(q, k, v, beta, g), value=2, time=2, options=options)
    if exporting():
        return delta_rule_reference(q, k, v, beta, g, state=state, start=start, valid=valid)
    length, size = q.shape[2], chunk_for(q.shape[2], chunk)
    if chosen.heard is not None:
        chosen.tell("delta rule", *in_chunks_of(length, size))
    with torch.autocast(q.device.type, enabled=False):
        if length == 1:
            return delta_rule_reference(q, k, v, beta, g, state=state, start=start, valid=valid)
        q, k, v, beta = at_least_fp32(q), silenced(k, valid), silenced(v, valid), silenced(beta, valid)
        s = (empty_state(k, v) if state is None else state).unflatten(1, (k.shape[1], -1))
        marks, groups = marks_of(start, length, size, q), k.shape[1]
        g = None if g is None else grouped(silenced(g, valid).clamp(min=GONE), groups, size, rows=g.dim() == 3)
        q, k, v, beta = (grouped(y, groups, size, rows=y.dim() == 3) for y in (q, k, v, beta))
        if g is not None and g.dim() == q.dim():
            total = g.cumsum(-2)
            seen, coupled = channel_weights(torch.stack((q, k)), k, total).masked_fill(~marks.pairs, 0.0)
            enter, carry = total.exp(), total[..., -1, :, None].exp()
            entering, asking = (weigh(y * enter, marks.early) for y in (k, q))
            leaving = weigh(k * (total[..., -1:, :] - total).exp(), marks.late).mT
        else:
            seen, enter, leave, carry = head_decays(q @ k.mT, g, marks)
            coupled, *_ = head_decays(k @ k.mT, g, marks)
            enter, leave = marks.early if enter is None else enter, marks.late if leave is None else leave
            entering, asking, leaving = weigh(k, enter), None, weigh(k, leave).mT
        known = torch.cat((entering.expand(*v.shape[:-1], -1), v), -1) * beta[..., None]
        solved = torch.linalg.solve_triangular((coupled * beta[..., None]).tril(-1), known, upper=False, unitriangular=True)
        reads, values = solved.split((k.shape[-1], v.shape[-1]), -1)
        states, corrections = [], []
        each = (values.unbind(3), reads.unbind(3), leaving.unbind(3), by_chunk(carry, marks.whole, v.shape[3]))
        for value, key, write, keep in zip(*each, strict=True):
            states.append(s)
            corrections.append(value - key @ s)
            s = (s if keep is None else s * keep) + write @ corrections[-1]
        before = torch.stack(states, 3)
        out = (weigh(q @ before, enter) if asking is None else asking @ before) + seen @ torch.stack(corrections, 3)
        return out.flatten(1, 2).flatten(2, 3)[:, :, :length], s.flatten(1, 2)


def delta_rule_flops(length: int, groups: int, heads: int, key: int, value: int, *, channels: bool = False) -> Flops:
    """Of ``delta_rule`` for one row, the triangular systems left out as ``torch`` counts; the algorithm is the recurrence: k S, k^T u and q S."""
    state = 6 * heads * key * value
    if length == 1:
        return Flops(state, state)
    size = chunk_for(length, CHUNK)
    scores = channel_weights_flops(size, key) if channels else 2 * size * size * key
    chunk = 2 * scores * groups + 2 * size * size * value * heads + size * state
    return Flops(-(-length // size) * chunk, length * state)
