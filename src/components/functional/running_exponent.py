"""The exponent that keeps sums of exponentials in range: m_t = max(f_t + m_(t-1), i_t), m_0 = 0.

Beck et al. 2024 (xLSTM), arXiv:2405.04517, equation 15. It is taken out of numerator and denominator alike, so nothing depends on it, and no gradient passes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.functional.precision import at_least_fp32
from components.functional.sequential_scan import Given, States, exporting, sequential_scan


@torch.no_grad()
def running_exponent(
    f: Tensor, i: Tensor, *, state: Tensor | None = None, start: Tensor | None = None, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """m before and after each position (B, H, T, 2), and the last (B, H), in fp32 at least.

    Args:
        f, i: (B, H, T), logs of what is kept and of what is written.
        state: (B, H) m before the first position; None: 0.
        start: (B, T) True where a document begins, and m is 0 before it; None: nowhere.
        valid: (B, T) False at padding, which leaves m as it is.
    """
    f, i = at_least_fp32(f), at_least_fp32(i)
    first = f.new_zeros(f.shape[:2]) if state is None else state
    if valid is not None:
        f, i = f.masked_fill(~valid[:, None], 0.0), i.masked_fill(~valid[:, None], -torch.inf)
    if start is not None:
        begins = start[:, None]
        f, i = f.masked_fill(begins, -torch.inf), torch.where(begins, torch.maximum(i, f), i)
    before, after = (_stepwise if exporting() else _doubling)(f, i, first)
    if start is not None:
        before = before.masked_fill(start[:, None], 0.0)
    return torch.stack((before, after), -1), after[..., -1].clone()  # a view would keep all positions in memory


def _stepwise(f: Tensor, i: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    def step(states: States, given: Given) -> tuple[States, States]:
        m = torch.maximum(states[0] + given[0], given[1])
        return (m,), (states[0].clone(), m.clone())

    (before, after), _ = sequential_scan(step, (first,), (f, i), 2)
    return before, after


def _doubling(f: Tensor, i: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """The same in log2(T) steps: after each, position t knows twice as many positions before it."""
    after, reach = i, 1
    while reach < f.shape[2]:
        after = torch.cat((after[..., :reach], torch.maximum(after[..., reach:], after[..., :-reach] + f[..., reach:])), -1)
        f = torch.cat((f[..., :reach], f[..., reach:] + f[..., :-reach]), -1)
        reach *= 2
    after = torch.maximum(after, first[..., None] + f)
    return torch.cat((first[..., None], after[..., :-1]), -1), after
