"""RWKV-7's recurrence: a state that decays channel by channel, unlearns along one direction and learns one pair of key and value per position.

Peng et al. 2025, arXiv:2503.14456, eq. 17 and 18; in chunks as for any transition that is diagonal plus rank one: Yang et al. 2024, arXiv:2406.06484
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from components.functional import watch
from components.functional.sequential_scan import Given, States, exporting, sequential_scan

CHUNK = 32  # positions; decays of at least exp(-0.61) per position keep exp(-sum) below 3e8 over this many


def rwkv7_reference(
    r: Tensor,
    log_w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    start: Tensor | None = None,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """S_t = S_(t-1) diag(w_t) + (S_(t-1) a_t^T) b_t + v_t^T k_t, read as r_t S_t^T, position by position.

    Args:
        r: (B, T, H, K), as log_w <= 0, k, a and b.
        v: (B, T, H, V).
        start: (B, T) True where the state before is forgotten.
        state: (B, H, K, V) before the first position (S transposed), zero if None.

    Returns: what was read (B, T, H, V), and the last state.
    """
    s = r.new_zeros(*r.shape[:1], *r.shape[2:], v.shape[-1]) if state is None else state

    def step(states: States, given: Given) -> tuple[States, States]:
        (s,), (r, log_w, k, v, a, b, begins) = states, given
        if begins is not None:
            s = torch.where(begins[:, None, None, None], 0.0, s)
        unlearnt = torch.matmul(a[:, :, None], s)
        s = log_w[..., None].exp() * s + b[..., None] * unlearnt + k[..., None] * v[:, :, None]
        return (s,), (torch.matmul(r[:, :, None], s)[:, :, 0],)

    (read,), (s,) = sequential_scan(step, (s,), (r, log_w, k, v, a, b, start), 1)
    return read, s


def rwkv7(
    r: Tensor,
    log_w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    start: Tensor | None = None,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As ``rwkv7_reference`` by products over chunks of positions; log_w at least -0.61.

    With S_t = Z_t diag(P_t), P the product of decays within the chunk, Z only grows: by u_s^T b_s / P_s + v_s^T k_s / P_s, where
    u_t = Z_(t-1) (P_(t-1) a_t)^T depends on earlier u alone: a triangular system per chunk.
    """
    if watch.sink is not None:
        watch.sink("linear", rule=rwkv7, inputs=(r, log_w, k, v, a, b, start, state), value=3, time=1, options={})
    if exporting():
        return rwkv7_reference(r, log_w, k, v, a, b, start, state)
    rows, length, heads, width = r.shape
    size = min(CHUNK, length)
    short = -length % size

    def chunks(x: Tensor) -> Tensor:
        """(B, T, H, K) -> (B, H, N, C, K); what is added at the end changes no state."""
        x = x if not short else F.pad(x, (0, 0, 0, 0, 0, short))
        return x.unflatten(1, (-1, size)).permute(0, 3, 1, 2, 4)

    r, log_w, k, v, a, b = (chunks(x) for x in (r, log_w, k, v, a, b))
    sums = log_w.cumsum(-2)
    last = sums[..., -1:, :]
    at_read, at_a, back, to_end = sums.exp(), (sums - log_w).exp(), (-sums).exp(), (last - sums).exp()
    causal = torch.ones(size, size, dtype=torch.bool, device=r.device).tril()
    end = last.exp()[..., 0, :, None]
    r_, a_, k_, b_, k_end, b_end = r * at_read, a * at_a, k * back, b * back, k * to_end, b * to_end
    r_first, a_first = r_, a_
    if start is not None:
        begun = (F.pad(start, (0, short)) if short else start).unflatten(1, (-1, size)).long().cumsum(-1)[:, None]
        causal = causal & (begun[..., :, None] == begun[..., None, :])
        of_end = (begun == begun[..., -1:])[..., None]
        k_end, b_end = k_end * of_end, b_end * of_end
        first = (begun == 0)[..., None]
        r_first, a_first, end = r_ * first, a_ * first, end * first[..., -1:, :]
    before = causal.tril(-1)
    r_k, r_b = (torch.where(causal, torch.matmul(r_, x.transpose(-1, -2)), 0.0) for x in (k_, b_))
    a_k, a_b = (torch.where(before, torch.matmul(a_, x.transpose(-1, -2)), 0.0) for x in (k_, b_))
    sides = torch.cat((a_first, torch.matmul(a_k, v)), -1)
    solved = torch.linalg.solve_triangular(-a_b, sides, upper=False, unitriangular=True)
    of_state, of_values = solved[..., :width], solved[..., width:]
    values = torch.matmul(r_k, v)
    s = r.new_zeros(rows, heads, width, v.shape[-1]) if state is None else state
    learnt = torch.matmul(k_end.transpose(-1, -2), v)
    read = []
    # unbound once: a slice for each chunk would give the backward pass a gradient of full size for each
    every = (of_state, of_values, r_first, r_b, values, end, b_end.transpose(-1, -2), learnt)
    for of_s, of_v, r_s, r_u, value, keep, b_u, new in zip(*(x.unbind(2) for x in every), strict=True):
        u = torch.matmul(of_s, s) + of_v
        read.append(torch.matmul(r_s, s) + torch.matmul(r_u, u) + value)
        s = keep * s + torch.matmul(b_u, u) + new
    return torch.cat(read, 2).transpose(1, 2)[:, :length], s


def rwkv7_flops(length: int, heads: int, width: int, value_width: int) -> tuple[int, int]:
    """(by chunks as above, position by position); the triangular system is no product of matrices and not in the first."""
    size = min(CHUNK, length)
    chunks = -(-length // size)
    squares, states = size * size * (8 * width + 6 * value_width), 8 * size * width * value_width
    return heads * chunks * (squares + states), heads * length * 8 * width * value_width
