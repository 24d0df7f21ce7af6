"""Talking-heads attention against the paper's formula, without mixing against mha, its FLOPs."""

from __future__ import annotations

import math

import pytest
import torch
from mixer_tools import D, T, counted, drawn, info, inputs, reported, stepwise

from components.core.errors import UserError


def naive(part, x, heads=4):
    """The three sums of the paper, over one query at a time."""
    width = D // heads
    q, k, v = (p(x).view(*x.shape[:2], heads, width) for p in (part.q, part.k, part.v))
    eye = torch.eye(heads, dtype=torch.float64)
    before = eye if part.before is None else eye + part.before.weight
    after = eye if part.after is None else eye + part.after.weight
    out = torch.zeros_like(q)
    for t in range(x.shape[1]):
        scores = torch.einsum("bhk,bshk->bhs", q[:, t], k[:, : t + 1]) / math.sqrt(width)
        logits = torch.einsum("bhs,lh->bls", scores, before)
        weights = torch.einsum("bls,wl->bws", logits.softmax(-1), after)
        out[:, t] = torch.einsum("bws,bswk->bwk", weights, v[:, : t + 1])
    return part.out(out.flatten(2))


@pytest.mark.parametrize("mix", [["before"], ["after"], ["before", "after"]], ids="-".join)
def test_formula(mix):
    part = drawn("talking_heads", mix=mix, position="none")
    torch.testing.assert_close(part(inputs(), info()), naive(part, inputs()))


@pytest.mark.parametrize("position", ["rope", "alibi", "none"])
def test_heads_that_do_not_talk_are_plain_attention(position):
    part, plain = (drawn(n, position=position, n_heads=4) for n in ("talking_heads", "mha"))
    plain.load_state_dict(part.state_dict(), strict=False)
    with torch.no_grad():
        part.before.weight.zero_()
        part.after.weight.zero_()
    torch.testing.assert_close(part(inputs(), info()), plain(inputs(), info()))


def test_one_head_hears_another():
    """A change of one head's queries reaches the output channels of all heads."""
    part = drawn("talking_heads", position="none")
    part.out = torch.nn.Identity()
    before = part(inputs(), info())
    with torch.no_grad():
        part.q.weight[: D // 4] += 1
    moved = (part(inputs(), info()) - before)[:, 1:].unflatten(-1, (4, -1)).abs().amax((0, 1, 3))
    assert (moved > 1e-3).all()


@pytest.mark.parametrize("position", ["rope", "alibi", "none"])
@pytest.mark.parametrize("chunk", [1, 3])
def test_cached_equals_the_full_pass(position, chunk):
    part = drawn("talking_heads", position=position)
    torch.testing.assert_close(stepwise(part, inputs(), chunk), part(inputs(), info()))


def test_a_prefix_is_seen_by_everyone():
    part = drawn("talking_heads", position="none")
    changed = inputs()
    changed[:, 2] += 1
    at = info(prefix=torch.tensor([3, 3]))
    moved = (part(changed, at) - part(inputs(), at)).abs().amax((0, 2)) > 0
    assert moved.tolist() == [True] * T


@pytest.mark.parametrize("mix", [["before"], ["before", "after"]], ids="-".join)
@pytest.mark.parametrize("causal", [True, False])
def test_flops(mix, causal):
    part = drawn("talking_heads", mix=mix, position="none")
    assert reported(part, 9, causal).executed == counted(part, 9, causal)
    per_cell = 4 * D + 2 * 16 * len(mix)
    assert reported(part, 9, True).executed - reported(part, 9, True).algorithm == per_cell * (81 - 45)


def test_dropout_acts_in_training_alone():
    part = drawn("talking_heads", position="none", dropout=0.5)
    assert torch.equal(part(inputs(), info()), part(inputs(), info()))
    assert not torch.equal(part.train()(inputs(), info()), part(inputs(), info()))


@pytest.mark.parametrize("mix", [[], ["within"]])
def test_mixing_nothing_is_refused(mix):
    with pytest.raises(UserError, match="choose before, after or both"):
        drawn("talking_heads", mix=mix, position="none")
