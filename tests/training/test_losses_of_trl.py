"""The losses over pairs and over groups against trl's own trainers: loss and gradient by each logit, recorded by losses_of_trl.py."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from losses_of_trl import (
    BETA,
    BUDGET,
    CLIP,
    FILE,
    GAMMA,
    IGNORED,
    MISMATCHED,
    PAIRS,
    REWARDS,
    SIMPO,
    TABLES,
    VOCAB,
    log_probs,
    logits,
    scores,
    sequences,
)
from torch import Tensor

from components import build
from components.core.sockets import Batch
from components.corpus.batches import once_a_row
from components.corpus.pairs import PairRows
from components.corpus.rows import Row, Rows
from components.parts.loss._pairs import answers_of

THEIRS = json.loads(FILE.read_text(encoding="utf8"))
OPTIONS = {
    "dpo": {"beta": BETA},
    "ipo": {"beta": BETA},
    "kto": {"beta": BETA, "undesirable": 1.5},
    "simpo": {"beta": SIMPO, "margin": GAMMA},
    "orpo": {"weight": BETA},
}


def encoded(pair, longest):
    del longest
    prompt, *answers = pair
    return tuple(Row([*prompt, *a], [-100] * (len(prompt) - 1) + [*a, -100]) for a in answers)


ROWS = PairRows(Rows("train", PAIRS, encoded, 8), None)  # type: ignore[arg-type]  # the encoder reads what it is given


def placed(table: Tensor, batch: Batch) -> Tensor:
    """(3, T, ...) what ``table`` (6, T, ...) says of each sequence, where that stands in our rows of two documents."""
    rows = []
    for i, documents in enumerate(batch.documents):
        sizes = [int((documents == n).sum()) for n in (0, 1)]
        row = torch.cat([table[i, : sizes[0]], table[len(PAIRS) + i, : sizes[1]]])
        behind = batch.ids.shape[1] - len(row)
        rows.append(torch.cat([row, row.new_zeros(behind, *row.shape[1:])]))
    return torch.stack(rows)


def said(name: str, batch: Batch) -> Tensor:
    return answers_of(placed(logits(TABLES[name]), batch), lambda x: x, batch, vocab_size=VOCAB).log_probs


def baseline() -> Tensor:
    others = ROWS.mismatched(0, range(3))
    return (said("policy_mismatched", others) - said("reference_mismatched", others)).mean().clamp(min=0)


def test_the_baseline_is_trls():
    assert float(baseline()) == pytest.approx(THEIRS["kto_baseline"], rel=1e-12)
    assert float(baseline()) > 0
    others = ROWS.mismatched(0, range(3))
    for row, (prompt, *answers) in zip(others.ids, MISMATCHED):
        assert row.tolist()[: 2 * len(prompt) + sum(map(len, answers))] == [*prompt, *answers[0], *prompt, *answers[1]]


@pytest.mark.parametrize("name", OPTIONS)
def test_loss_and_gradient_are_trls(name):
    batch = ROWS.batch(0, range(3))
    batch = replace(batch, reference=said("reference", batch), baseline=baseline().expand(3))
    table = logits(TABLES["policy"]).requires_grad_()
    terms = build("loss", name, vocab_size=VOCAB, **OPTIONS[name])(placed(table, batch), lambda x: x, batch)
    total, weight = terms.losses["loss"]
    value, theirs = total / weight, THEIRS[name if name != "orpo" else "orpo_odds"]
    if name == "orpo":
        # theirs adds the cross entropy of the prompts too, and as a mean over the batch's tokens: ours (the paper's) is taken off here
        value = value + answers_of(placed(table, batch), lambda x: x, batch, vocab_size=VOCAB).means()[:, 0].mean()
    (gradient,) = torch.autograd.grad(value, table)
    assert float(value.detach()) == pytest.approx(theirs["loss"], rel=1e-6)
    torch.testing.assert_close(gradient, torch.tensor(theirs["gradient"], dtype=torch.float64), rtol=1e-6, atol=1e-7)


def test_the_reward_is_trls():
    given = scores().requires_grad_()
    batch = ROWS.batch(0, range(3))
    ends = given[:, None, None].expand(-1, 8, 1)  # the same number at each position
    terms = build("loss", "reward")(placed(ends, batch), lambda x: x, batch)
    value = terms.losses["loss"][0] / terms.losses["loss"][1]
    (gradient,) = torch.autograd.grad(value, given)
    assert float(value.detach()) == pytest.approx(THEIRS["reward"]["loss"], rel=1e-12)
    torch.testing.assert_close(gradient, torch.tensor(THEIRS["reward"]["gradient"], dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo"])
def test_groups_are_trls(name):
    """The six answers as two groups; some of their tokens are beyond the clip."""
    ids, labels = sequences()
    targets = torch.cat([labels[:, 1:], torch.full((6, 1), IGNORED)], 1)
    rewards = torch.stack([torch.tensor(r, dtype=torch.float64).roll(-i) for r in REWARDS for i in range(3)])
    said = {n: torch.cat([log_probs(logits(TABLES[n]), labels), torch.zeros(6, 1)], 1) for n in ("drawn", "reference")}
    batch = Batch(ids, targets, once_a_row(targets) / 3, rewards=rewards, **said)
    table = logits(TABLES["policy"]).requires_grad_()
    more = {"budget": BUDGET} if name == "dr_grpo" else {}
    loss = build("loss", name, vocab_size=VOCAB, beta=BETA, clip=CLIP, **more)
    terms = loss(table, lambda x: x, batch).losses
    value = terms["loss"][0] / terms["loss"][1]
    (gradient,) = torch.autograd.grad(value, table)
    assert float(value.detach()) == pytest.approx(THEIRS[name]["loss"], rel=1e-6)
    torch.testing.assert_close(gradient, torch.tensor(THEIRS[name]["gradient"], dtype=torch.float64), rtol=1e-6, atol=1e-9)
    assert 0 < float(terms["clipped"][0] / terms["clipped"][1]) < 1
