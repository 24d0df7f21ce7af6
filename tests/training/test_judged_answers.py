"""Answers that were judged by themselves: kto against the paper's formula in fp64, the baseline, the data's form, and runs."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest
import torch
from answer_frames import VOCAB, assert_same_loss, gradients, policy, row_of, said_of, words_for
from test_preferences import NO, USER, YES, weights

import components
from components import build
from components.core.errors import UserError
from components.corpus.batches import totals
from components.corpus.pairs import PairRows
from components.corpus.rows import Row, Rows
from components.training.task._compared import Compared
from components.training.task._reference import Reference

pytestmark = pytest.mark.usefixtures("warm_processes")

# prompt, answer, whether it is good; at last a row with both
JUDGED = [((1, 2, 3), (4, 5), True), ((7, 8), (9,), False), ((3,), (2, 2, 2, 5), False), ((6, 6), (10, 11), True)]
BETA, GOOD, BAD, Z0 = 0.3, 1.5, 0.7, 0.4


def encoded(row, longest=0):
    del longest
    prompt, *answers = row
    made = row_of(prompt, answers[0])
    if isinstance(answers[1], tuple):
        return made, row_of(prompt, answers[1])
    return (made, Row([], [])) if answers[1] else (Row([], []), made)


def rows_of(given=JUDGED, context=32) -> PairRows:
    return PairRows(Rows("train", given, encoded, context), None)  # type: ignore[arg-type]  # the encoder reads what it is given


def said(model, given=JUDGED):
    """The log-probability of each answer."""
    return torch.stack([said_of(model, prompt, answer).sum() for prompt, answer, _ in given])


def paper(ratios, z0):
    """Equations 7 and 8: lambda_y - v(x, y), a mean over answers, with lambda_D and lambda_U."""
    each = []
    for r, (_, _, good) in zip(ratios, JUDGED, strict=True):
        value = GOOD / (1 + torch.exp(-BETA * (r - z0))) if good else BAD / (1 + torch.exp(-BETA * (z0 - r)))
        each.append((GOOD if good else BAD) - value)
    return torch.stack(each).mean()


@pytest.mark.parametrize("chunk", ["auto", 2])
def test_kto_of_single_answers_is_the_papers_formula(chunk):
    model, other = policy(1), policy(2)
    loss = build("loss", "kto", vocab_size=VOCAB, chunk=chunk, beta=BETA, desirable=GOOD, undesirable=BAD)
    batch = Reference(other, VOCAB, keep=False).beside(rows_of().batch(0, range(4)))
    terms = model(replace(batch, baseline=torch.full((4,), Z0).double()), loss)
    value, weight = terms.losses["loss"]
    assert weight == 4
    got = gradients(model, value / weight)
    ratios = said(model) - said(other).detach()
    assert_same_loss(model, value / weight, got, paper(ratios, Z0))
    signs = torch.tensor([1.0 if good else -1.0 for *_, good in JUDGED]).double()
    figures = {n: float((v / w).detach()) for n, (v, w) in terms.losses.items()}
    assert figures["margin"] == pytest.approx(float((BETA * signs * ratios).mean()), rel=1e-9)
    assert figures["preferred"] == float((signs * ratios > 0).double().mean())
    assert figures["kl"] == pytest.approx(float(ratios.mean()), rel=1e-9)


def test_the_baseline_is_a_mean_over_the_answers_that_there_are():
    model, other = policy(1), policy(2)
    task = Compared()
    mixed = [(p, JUDGED[(i + 1) % 4][1], True) for i, (p, _, _) in enumerate(JUDGED)]
    with torch.no_grad():
        mean = float((said(model, mixed) - said(other, mixed)).mean())
    for policy_, start, wanted in ((model, other, mean), (other, model, -mean)):
        task.reference = Reference(policy_, VOCAB, keep=False, start=start)
        for rows in (1, 3, 4):
            assert float(task.baseline_of(rows_of().mismatched(0, range(4)), rows, own=False)) == pytest.approx(
                max(0.0, wanted), rel=1e-9
            )


def test_rows_with_one_answer_and_with_both_weigh_the_same():
    both = ((5,), (1, 2), (3,))
    rows = rows_of([*JUDGED, both])
    whole = rows.batch(0, range(5))
    assert totals(whole)[0] == 5
    model, other = policy(1), policy(2)
    loss = build("loss", "kto", vocab_size=VOCAB)

    def asked(numbers):
        batch = Reference(other, VOCAB, keep=True).beside(rows.batch(0, numbers))
        return model(replace(batch, baseline=torch.full((len(numbers),), Z0).double()), loss).losses["loss"][0]

    assert float(sum(asked([i]) for i in range(5))) == pytest.approx(float(asked(list(range(5)))), rel=1e-12)
    apart = rows_of([((5,), (1, 2), True), ((5,), (3,), False)])
    batch = Reference(other, VOCAB, keep=False).beside(apart.batch(0, [0, 1]))
    two = model(replace(batch, baseline=torch.full((2,), Z0).double()), loss).losses["loss"][0]
    assert float(asked([4])) == pytest.approx(float(two) / 2, rel=1e-12), "a pair is the mean of its two answers"
    moved = rows.mismatched(0, [3, 4])
    assert moved.documents.max(1).values.tolist() == [0, 1]  # a chosen answer of the pair; both with the first row's


@pytest.mark.parametrize(
    ("row", "answers"),
    [
        ({"prompt": "2 + 2?", "completion": "4", "label": True}, ((YES,), ())),
        ({"prompt": [USER], "completion": [NO], "label": False}, ((), (NO,))),
        ({"prompt": "2 + 2?", "completion": "5", "label": 0, "chosen": None}, ((), (NO,))),
    ],
)
def test_a_row_with_one_answer_and_a_label(tmp_path, row, answers):
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    (found,) = build("data", "preferences", path=str(tmp_path / "p.jsonl")).examples()
    assert (found.input, found.answers) == ((USER,), answers)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "a", "completion": "b"}, "label: is None"),
        (
            {"prompt": "a", "completion": "b", "label": "yes"},
            "label: is 'yes', and says whether the answer is good; write true or false",
        ),
        ({"completion": "b", "label": True}, "has no field 'prompt'"),
        ({"prompt": "a", "completion": [USER], "label": True}, "no answer of the assistant"),
    ],
)
def test_what_is_no_judged_answer_is_refused_with_its_line(tmp_path, row, words):
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=words) as e:
        list(build("data", "preferences", path=str(tmp_path / "p.jsonl")).examples())
    assert "p.jsonl:1" in e.value.where


@pytest.fixture
def words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"say {i}", "completion": f"{i}!" if i % 3 else f"no {i}", "label": bool(i % 3)} for i in range(60)]
    return words_for(tmp_path, rows)


def test_a_run_learns_and_a_step_is_one_mean_however_it_is_cut(words):
    options = [*words, "loss=kto", "trainer.max_steps=6"]
    whole = components.train(overrides=options, quiet=True)
    cut = components.train(overrides=[*options, "trainer.accumulate_grad_batches=4", "task.keep_reference=true"], quiet=True)
    for name, p in weights(whole.folder).items():
        torch.testing.assert_close(weights(cut.folder)[name], p, rtol=1e-9, atol=1e-11)
    rows = list(csv.DictReader((whole.folder / "metrics.csv").open()))
    measured = [row for row in rows if row["val_margin"]]
    assert float(measured[-1]["val_margin"]) > float(measured[0]["val_margin"])
    assert float(measured[-1]["val_preferred"]) > 0.7


@pytest.mark.parametrize("loss", ["dpo", "ipo", "simpo", "orpo"])
def test_losses_that_compare_two_answers_refuse_one(words, loss, tmp_path):
    with pytest.raises(
        UserError, match=rf"p\.jsonl:\d+: has one answer, judged by itself, and loss/{loss} compares two; .*loss=kto"
    ):
        components.train(overrides=[*words, f"loss={loss}", "trainer.max_steps=1"], quiet=True)
    assert not (tmp_path / "runs").exists()
