"""m_t = max(f_t + m_(t-1), i_t) in log2(T) steps against the recurrence in Python, with documents and padding, and in pieces."""

from __future__ import annotations

import pytest
import torch

from components.functional.running_exponent import running_exponent

LENGTH = 37


def by_hand(f: list[float], i: list[float], start: list[bool], valid: list[bool]) -> list[tuple[float, float]]:
    found, m = [], 0.0
    for keep, write, begins, there in zip(f, i, start, valid, strict=True):
        m = 0.0 if begins else m
        before = m
        m = max(keep + m, write) if there else m
        found.append((before, m))
    return found


@pytest.mark.parametrize("piece", [LENGTH, 1, 5])
def test_it_is_the_recurrence(piece):
    generator = torch.Generator().manual_seed(1)
    f, i = -torch.rand(2, 3, LENGTH, generator=generator).double(), 3 * torch.randn(2, 3, LENGTH, generator=generator).double()
    valid = torch.rand(2, LENGTH, generator=generator) > 0.3
    start = (torch.rand(2, LENGTH, generator=generator) > 0.8) & valid
    pieces, state = [], None
    for at in range(0, LENGTH, piece):
        here = slice(at, at + piece)
        read, state = running_exponent(f[..., here], i[..., here], state=state, start=start[:, here], valid=valid[:, here])
        pieces.append(read)
    for b in range(2):
        for h in range(3):
            rows = (f[b, h].tolist(), i[b, h].tolist(), start[b].tolist(), valid[b].tolist())
            torch.testing.assert_close(torch.cat(pieces, 2)[b, h], torch.tensor(by_hand(*rows), dtype=torch.float64))
