"""next_token: in one go and in chunks, with weights, smoothing and z-loss, equal to the formula."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from components import build
from components.core.sockets import Batch
from components.parts.loss import _tokens


class Counted(nn.Linear):
    rows: list[int]

    def forward(self, x):
        self.rows.append(x.shape[:-1].numel())
        return super().forward(x)


@pytest.fixture
def head():
    torch.manual_seed(0)
    made = Counted(8, 31, bias=False)
    made.rows = []
    return made


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(1)
    targets = torch.randint(0, 31, (3, 7), generator=g)
    targets[:, 2] = -100
    return Batch(torch.zeros(3, 7, dtype=torch.long), targets=targets)


def total(terms):
    return sum(terms.aim.get(n, 1.0) * s / w for n, (s, w) in terms.losses.items())


def grads(terms, hidden, head):
    return torch.autograd.grad(total(terms), (hidden, head.weight))


@pytest.mark.parametrize("chunk", ["auto", "all", 1, 5, 100])
def test_equals_the_obvious_formula(head, batch, chunk):
    hidden = torch.randn(3, 7, 8, requires_grad=True)
    terms = build("loss", "next_token", vocab_size=31, chunk=chunk)(hidden, head, batch)
    s, w = terms.losses["loss"]
    assert w == 18
    expected = F.cross_entropy(head(hidden).flatten(0, 1), batch.targets.flatten(), reduction="sum")
    torch.testing.assert_close(s, expected)
    found = grads(terms, hidden, head)
    for a, b in zip(found, torch.autograd.grad(expected / 18, (hidden, head.weight))):
        torch.testing.assert_close(a, b)


def test_weights_smoothing_and_z_loss(head, batch):
    hidden = torch.randn(3, 7, 8, requires_grad=True)
    batch = Batch(batch.ids, batch.targets, weights=torch.rand(3, 7))
    loss = build("loss", "next_token", vocab_size=31, z_loss=0.01, label_smoothing=0.2, chunk=4)
    terms = loss(hidden, head, batch)
    asked = (batch.targets != -100) * batch.weights
    logits = head(hidden)
    each = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none", label_smoothing=0.2).view(3, 7)
    expected = (each * asked).sum() / asked.sum() + 0.01 * (logits.logsumexp(-1).square() * asked).sum() / asked.sum()
    torch.testing.assert_close(total(terms), expected)
    assert terms.aim == {"z_loss": 0.01}
    for a, b in zip(grads(terms, hidden, head), torch.autograd.grad(expected, (hidden, head.weight))):
        torch.testing.assert_close(a, b)


def test_chunks_hold_only_their_rows(head, batch):
    build("loss", "next_token", vocab_size=31, chunk=4)(torch.randn(3, 7, 8), head, batch)
    assert head.rows == [4, 4, 4, 4, 4, 1]


def test_auto_chunks_by_the_size_of_the_logits(head, batch, monkeypatch):
    monkeypatch.setattr(_tokens, "ONE_GO", 31 * 4 * 20)
    monkeypatch.setattr(_tokens, "CHUNK", 31 * 4 * 10)
    loss = build("loss", "next_token", vocab_size=31)
    loss(torch.randn(3, 7, 8), head, batch)
    assert head.rows == [10, 10, 1]
    head.rows.clear()
    with torch.autocast("cpu", torch.bfloat16):
        loss(torch.randn(3, 7, 8), head, batch)
    assert head.rows == [21]


def test_bfloat16_autocast_stays_near_fp32(head, batch):
    hidden = torch.randn(3, 7, 8)
    loss = build("loss", "next_token", vocab_size=31)
    exact = loss(hidden, head, batch).losses["loss"][0]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = loss(hidden, head, batch).losses["loss"][0]
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=5e-3, atol=0)


def test_nothing_asked_is_zero_and_not_nan(head, batch):
    nothing = Batch(batch.ids, torch.full_like(batch.targets, -100))
    s, w = build("loss", "next_token", vocab_size=31)(torch.randn(3, 7, 8), head, nothing).losses["loss"]
    assert (s, w) == (0, 0)


def test_no_targets_is_said(head, batch):
    with pytest.raises(ValueError, match="targets"):
        build("loss", "next_token", vocab_size=31)(torch.randn(3, 7, 8), head, Batch(batch.ids))


@pytest.mark.parametrize("chunk", ["all", 5])
def test_inside_a_model_and_compiled(chunk, batch):
    torch.manual_seed(0)
    model = build("model", "decoder", vocab_size=31, d_model=16, n_layers=1, context_length=8)
    loss = build("loss", "next_token", vocab_size=31, chunk=chunk)
    batch = Batch(torch.randint(0, 31, (3, 7)), batch.targets)
    expected = F.cross_entropy(model(batch).flatten(0, 1), batch.targets.flatten())
    expected = (expected, *torch.autograd.grad(expected, model.parameters()))
    for run in (model, torch.compile(model, backend="eager", fullgraph=chunk == "all")):
        found = total(run(batch, loss))
        for a, b in zip((found, *torch.autograd.grad(found, model.parameters())), expected):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
