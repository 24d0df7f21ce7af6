"""Preference tuning: pairs as rows, the losses against their formulas in fp64, the reference, and runs that are cut in different ways."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest
import torch
from answer_frames import VOCAB, assert_same_loss, gradients, policy, row_of, said_of, words_for

import components
from components import build
from components.core.errors import UserError
from components.core.sockets import Batch
from components.corpus.batches import totals
from components.corpus.pairs import PairRows
from components.corpus.rows import Row, Rows
from components.training.task._compared import Compared
from components.training.task._reference import Reference

pytestmark = pytest.mark.usefixtures("warm_processes")

Z0 = 0.7  # of kto
PAIRS = [((1, 2, 3), (4, 5), (6,)), ((7, 8), (9,), (10, 11, 12)), ((3,), (2, 2, 2, 5), (1, 30))]  # prompt, chosen, rejected


def encoded(pair, longest=0):
    del longest
    prompt, *answers = pair
    return tuple(row_of(prompt, a) for a in answers)


def pairs(seed=None) -> PairRows:
    return PairRows(Rows("train", PAIRS, encoded, 32), seed)  # type: ignore[arg-type]  # the encoder reads what it is given


def said(model: torch.nn.Module, asked=PAIRS) -> tuple[torch.Tensor, torch.Tensor]:
    """(3, 2) sums of log-probabilities, and lengths."""
    sums = [said_of(model, prompt, a).sum() for prompt, *answers in asked for a in answers]
    lengths = torch.tensor([[len(c), len(r)] for _, c, r in asked]).double()
    return torch.stack(sums).view(-1, 2), lengths


def sigmoid_loss(x: torch.Tensor) -> torch.Tensor:
    return torch.log(1 + torch.exp(-x))


def odds(mean: torch.Tensor) -> torch.Tensor:
    return torch.log(mean.exp() / (1 - mean.exp()))


FORMULAS = {
    "dpo": lambda p, r, _: sigmoid_loss(0.1 * ((p - r)[:, 0] - (p - r)[:, 1])),
    "ipo": lambda p, r, n: (((p - r) / n)[:, 0] - ((p - r) / n)[:, 1] - 5.0) ** 2,
    "kto": lambda p, r, _: (2 - torch.sigmoid(0.1 * ((p - r)[:, 0] - Z0)) - torch.sigmoid(0.1 * (Z0 - (p - r)[:, 1]))) / 2,
    "simpo": lambda p, _, n: sigmoid_loss(2 * ((p / n)[:, 0] - (p / n)[:, 1]) - 1),
    "orpo": lambda p, _, n: -(p / n)[:, 0] + 0.1 * sigmoid_loss(odds(p / n)[:, 0] - odds(p / n)[:, 1]),
}


@pytest.mark.parametrize("chunk", ["auto", 2])
@pytest.mark.parametrize("name", FORMULAS)
def test_a_loss_is_its_formula(name, chunk):
    model, other = policy(1), policy(2)
    loss = build("loss", name, vocab_size=VOCAB, chunk=chunk)
    batch = pairs().batch(0, [0, 1, 2])
    if loss.compares:
        batch = Reference(other, VOCAB, keep=False).beside(batch)
    if loss.mismatches:
        batch = replace(batch, baseline=torch.full((3,), Z0).double())
    value, weight = model(batch, loss).losses["loss"]
    assert weight == 3
    got = gradients(model, value / weight)
    log_p, lengths = said(model)
    with torch.no_grad():
        reference = said(other)[0]
    assert_same_loss(model, value / weight, got, FORMULAS[name](log_p, reference, lengths).mean())


def test_reward_is_its_formula():
    model = policy(1, head={"name": "value"})
    rows = PairRows(Rows("train", PAIRS, whole, 32), None)  # type: ignore[arg-type]  # the encoder reads what it is given
    loss = build("loss", "reward")
    value, weight = model(rows.batch(0, [0, 1, 2]), loss).losses["loss"]
    assert weight == 3
    got = gradients(model, value / weight)
    scores = torch.stack([model(torch.tensor([[*prompt, *a]]))[0, -1, 0] for prompt, *answers in PAIRS for a in answers])
    assert_same_loss(model, value / weight, got, sigmoid_loss(scores[0::2] - scores[1::2]).mean())
    assert len(got) > 5
    with pytest.raises(ValueError, match="take head/value"):
        policy(1)(rows.batch(0, [0]), loss)


def whole(pair, longest=0):
    del longest
    prompt, *answers = pair
    return tuple(Row([*prompt, *a], [-100] * (len(prompt) + len(a) - 1) + [0]) for a in answers)


def test_the_baseline_is_the_mean_over_answers_to_other_prompts_and_at_least_0():
    """However many rows are read at once; each row's other answers are those of the next pair of the epoch, cut where the model's reading ends."""
    model, other = policy(1), policy(2)
    task = Compared()
    task.reference = Reference(model, VOCAB, keep=False, start=other)
    beside = pairs().mismatched(0, [0, 1, 2])
    mixed = [(p, *PAIRS[(i + 1) % 3][1:]) for i, (p, _, _) in enumerate(PAIRS)]
    with torch.no_grad():
        mean = (said(model, mixed)[0] - said(other, mixed)[0]).mean()
    for rows in (1, 2, 3):
        assert float(task.baseline_of(beside, rows, own=False)) == pytest.approx(max(0.0, float(mean)), rel=1e-9)
    task.reference = Reference(other, VOCAB, keep=False, start=model)
    assert float(task.baseline_of(beside, 3, own=False)) == pytest.approx(max(0.0, -float(mean)), rel=1e-9)
    short = PairRows(Rows("train", PAIRS, encoded, 6), 5)  # type: ignore[arg-type]  # as above
    one, all_ = short.mismatched(3, [1]), short.mismatched(3, [0, 1, 2])
    length = int((one.documents >= 0).sum())
    assert torch.equal(one.ids[0, :length], all_.ids[1, :length])
    assert max(int((all_.documents == n).sum(1).max()) for n in (0, 1)) <= 6
    with pytest.raises(ValueError, match=r"batch\.baseline"):
        model(Reference(other, VOCAB, keep=False).beside(pairs().batch(0, [0])), build("loss", "kto", vocab_size=VOCAB))


def test_a_pair_weighs_one_and_padding_nothing():
    rows = pairs()
    whole = rows.batch(0, [0, 1, 2])
    assert totals(whole)[0] == 3
    assert [float(totals(rows.batch(0, [i]))[0]) for i in range(3)] == [1, 1, 1]
    model, loss = policy(1), build("loss", "simpo", vocab_size=VOCAB)
    alone = sum(model(rows.batch(0, [i]), loss).losses["loss"][0] for i in range(3))
    assert float(alone) == pytest.approx(float(model(whole, loss).losses["loss"][0]), rel=1e-12)


def test_the_reference_is_the_start_with_an_adapter_and_without():
    batch = pairs().batch(0, [0, 1, 2])
    for adapter in ("none", "lora"):
        model = build("adapter", adapter).apply(policy(3))
        before = said(model)[0].detach()
        reference = Reference(model, VOCAB, keep=True)
        assert (reference.copy is None) == (adapter == "lora")
        with torch.no_grad():
            for p in model.parameters():
                if p.requires_grad:
                    p.add_(0.1 * torch.randn_like(p))
        torch.testing.assert_close(reference.beside(batch).reference, before)
        assert len(reference.kept) == 3
        reference.says = None  # type: ignore[method-assign,assignment]  # what is kept is not asked again
        torch.testing.assert_close(reference.beside(pairs().batch(0, [2, 0])).reference, before[[2, 0]])
        assert not torch.allclose(said(model)[0], before), "and the model itself has its adapter again"


def test_without_a_reference_it_is_said():
    with pytest.raises(ValueError, match=r"batch\.reference"):
        policy(1)(pairs().batch(0, [0]), build("loss", "dpo", vocab_size=VOCAB))
    with pytest.raises(ValueError, match=r"batch\.documents"):
        policy(1)(Batch(torch.ones(1, 4).long(), torch.ones(1, 4).long()), build("loss", "simpo", vocab_size=VOCAB))


# -- the data -----------------------------------------------------------------------------------------------------------

USER, YES, NO = ({"role": r, "content": c} for r, c in (("user", "2 + 2?"), ("assistant", "4"), ("assistant", "5")))
SHAPES = [
    {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
    {"prompt": [USER], "chosen": [YES], "rejected": [NO]},
    {"chosen": [USER, YES], "rejected": [USER, NO]},
    {"prompt": [{**USER, "weight": 0}], "chosen": [{**YES, "weight": 1}], "rejected": [{**NO, "weight": None}]},
]


@pytest.mark.parametrize("row", SHAPES)
def test_the_three_shapes_are_one(tmp_path, row):
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    (found,) = build("data", "preferences", path=str(tmp_path / "p.jsonl")).examples()
    assert (found.input, found.answers) == ((USER,), ((YES,), (NO,)))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "a", "chosen": "b"}, "no field 'rejected'"),
        ({"chosen": "b", "rejected": "c"}, "no message in common"),
        ({"prompt": "a", "chosen": 3, "rejected": "c"}, "neither text nor a list"),
        ({"prompt": "a", "chosen": [USER], "rejected": [NO]}, "no answer of the assistant"),
        ({"prompt": "a", "chosen": [{**YES, "weight": 0}], "rejected": [NO]}, "compares whole answers"),
        ({"chosen": [USER, YES], "rejected": [USER, {**NO, "weight": 0}]}, "compares whole answers"),
        ({"prompt": [USER], "chosen": [YES], "rejected": [{**NO, "weight": 2}]}, "has the weight 2"),
    ],
)
def test_what_is_no_preference_is_refused_with_its_line(tmp_path, row, words):
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=words) as e:
        list(build("data", "preferences", path=str(tmp_path / "p.jsonl")).examples())
    assert "p.jsonl:1" in e.value.where
    made = build("data", "preferences", path=str(tmp_path / "p.jsonl"), abnormal="drop")
    assert list(made.examples()) == []
    assert "1, such as" in made.notes[0]


# -- runs ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"say {i}", "chosen": f"{i}!" * (1 + i % 3), "rejected": f"no {i}"} for i in range(40)]
    return words_for(tmp_path, rows)


def weights(folder):
    return dict(components.load(folder).model.named_parameters())


def test_a_reference_is_not_divided_among_ranks(words, tmp_path):
    with pytest.raises(UserError, match="a reference cannot be divided among ranks yet"):
        components.train(
            overrides=[*words, "loss=dpo", "trainer.strategy=fsdp2", "trainer.devices=2", "trainer.max_steps=1"], quiet=True
        )
    assert not (tmp_path / "runs").exists()  # nobody was started


def test_a_step_is_one_mean_over_pairs(words, server, tmp_path):
    """In one piece, in four, and on two ranks, with the reference asked in each step and once: kto reads a mean over the step besides."""
    options = [*words, "loss=kto", "loss.undesirable=0.1", "trainer.max_steps=3"]
    ranks = server.ranks(tmp_path, [*options, "trainer.strategy=ddp", "trainer.devices=2", "paths.runs=two"])
    whole = components.train(overrides=options, quiet=True)
    cut = components.train(overrides=[*options, "trainer.accumulate_grad_batches=4", "task.keep_reference=true"], quiet=True)
    assert [rank.ended() for rank in ranks] == [0, 0], ranks[0].said + ranks[1].said
    (two,) = (tmp_path / "two" / "llama_tiny").iterdir()
    rows = list(csv.DictReader((whole.folder / "metrics.csv").open()))
    for other in (cut.folder, two):
        for name, p in weights(whole.folder).items():
            torch.testing.assert_close(weights(other)[name], p, rtol=1e-9, atol=1e-11)
        for name, value in list(csv.DictReader((other / "metrics.csv").open()))[-1].items():
            if name.startswith("val_") and rows[-1][name]:
                assert float(value) == pytest.approx(float(rows[-1][name]), rel=1e-6), name
    assert float(rows[-1]["train_baseline"]) > 0
    assert 0 < float(rows[-1]["val_loss"]) < 0.275, "the loss of a policy that is its reference"
    assert {"val_margin", "val_preferred", "val_kl", "train_margin", "train_kl"} <= set(rows[-1])
    assert not rows[-1].get("val_perplexity")
    again = components.evaluate(whole.folder)
    for name in ("loss", "margin", "kl"):
        assert again[name] == pytest.approx(float(rows[-1][f"val_{name}"]), rel=1e-5), "with the reference made again"


def test_a_resumed_run_has_the_same_reference(words):
    base = components.train(overrides=[*words, "loss=simpo", "trainer.max_steps=1"], quiet=True).folder
    options = [*words, "loss=dpo", f"init_from={base}", "schedule=constant"]
    whole = components.train(overrides=[*options, "trainer.max_steps=2"], quiet=True)
    cut = components.train(overrides=[*options, "trainer.max_steps=1"], quiet=True).folder
    resumed = components.train(None, [f"resume={cut}", "trainer.max_steps=2"], quiet=True)
    assert all(torch.equal(p, weights(resumed.folder)[n]) for n, p in weights(whole.folder).items())
    figures = components.evaluate(resumed.folder)
    rows = list(csv.DictReader((whole.folder / "metrics.csv").open()))
    assert figures["kl"] == pytest.approx(float(rows[-1]["val_kl"]), rel=1e-5), (
        "evaluated beside the start, which init_from named"
    )


def test_a_reward_model_learns_and_scores(words):
    options = [word for word in words if word != "task.samples=0"]
    options += ["task=reward_modeling", "loss=reward", "model/head=value", "trainer.max_steps=8"]
    run = components.train(overrides=options, quiet=True)
    rows = list(csv.DictReader((run.folder / "metrics.csv").open()))
    assert float(rows[-1]["val_loss"]) < 0.6 < float(rows[0]["val_loss"] or 1)
    assert float(rows[-1]["val_preferred"]) > 0.9
    again = components.evaluate(run.folder)
    assert again["margin"] == pytest.approx(float(rows[-1]["val_margin"]), rel=1e-5)
