"""ALiBi as Falcon's code computes it: slope times position in bf16, so that the penalty of a distance depends on where it stands."""

from __future__ import annotations

import pytest
import torch

from components import build
from components.core.sockets import SequenceInfo


def bias(length: int, **options) -> torch.Tensor:
    info = SequenceInfo(ids=torch.zeros(1, length, dtype=torch.long), positions=torch.arange(length)[None])
    q = torch.zeros(1, 6, length, 8)
    return build("position", "alibi", n_heads=6, **options).bias(q, q, info, info)


def test_the_formula_of_falcon():
    slopes = torch.tensor([2 ** (-2.0 * i) for i in (1, 2, 3, 4)] + [2 ** (-1.0 * i) for i in (1, 3)])
    theirs = (slopes[:, None].bfloat16() * torch.arange(700)[None]).float() * 0.25
    ours = bias(700, factor=0.25, rounding="bfloat16")[0]
    below = torch.ones(700, 700).tril().bool()
    # a constant of each query means nothing to a softmax
    assert torch.equal(ours.masked_fill(~below, 0), (theirs[:, None, :] - theirs[:, :, None]).masked_fill(~below, 0))


@pytest.mark.parametrize(("length", "same"), [(200, True), (700, False)])
def test_it_differs_from_the_paper_where_bf16_ends(length, same):
    """Powers of two are exact in bf16, and so are whole numbers up to 256."""
    assert torch.equal(bias(length, rounding="bfloat16"), bias(length)) is same
