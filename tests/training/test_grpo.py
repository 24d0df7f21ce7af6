"""GRPO: the losses against their formulas in fp64, what is drawn, and runs that are cut in different ways, resumed, and beside an adapter."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from answer_frames import VOCAB, assert_same_loss, gradients, policy, said_of
from drawn_runs import words_of

import components
from components import build
from components.core.errors import UserError
from components.core.sockets import Batch
from components.corpus.batches import once_a_row
from components.corpus.rows import batch_of
from components.training.task._drawing import row_of
from components.training.task._reference import said_by, tokens_read

pytestmark = pytest.mark.usefixtures("warm_processes")

# two groups of three: prompt, answers, and their rewards
GROUPS = [((1, 2, 3), ((4, 5), (6,), (7, 8, 9, 10)), (1.0, 0.0, 0.5)), ((7, 8), ((9,), (10, 11, 12), (3, 3)), (0.0, 2.0, 0.0))]


def rows() -> Batch:
    made = batch_of([row_of(list(p), list(a)) for p, answers, _ in GROUPS for a in answers])
    rewards = torch.stack([torch.tensor(r).double().roll(-i) for _, _, r in GROUPS for i in range(3)])
    assert made.targets is not None
    lengths = torch.stack([torch.tensor([len(a) for a in answers]).roll(-i) for _, answers, _ in GROUPS for i in range(3)])
    return replace(made, weights=once_a_row(made.targets) / 3, rewards=rewards, lengths=lengths)


def said(model: torch.nn.Module) -> list[list[torch.Tensor]]:
    """The log-probabilities of each answer's tokens."""
    return [[said_of(model, p, a) for a in answers] for p, answers, _ in GROUPS]


def formula(now, drawn, reference, *, beta, clip, high, divide, share, whole) -> torch.Tensor:
    """Equations 3 and 4 of the paper, token by token in plain Python; 8 of DAPO's and 5 to 7 of GSPO's, where they differ.

    ``share``: what a sum over an answer's tokens is divided by. ``whole``: one ratio for all tokens of an answer.
    """
    total = 0.0
    for g, (_, answers, rewards) in enumerate(GROUPS):
        mean = sum(rewards) / 3
        deviation = (sum((r - mean) ** 2 for r in rewards) / 2) ** 0.5
        for i in range(len(answers)):
            advantage = (rewards[i] - mean) / (deviation + 1e-4 if divide else 1.0)
            value, n = 0.0, len(answers[i])
            of_answer = torch.exp(sum(now[g][i][t] - drawn[g][i][t] for t in range(n)) / n)
            for t in range(n):
                ratio = of_answer if whole else torch.exp(now[g][i][t] - drawn[g][i][t])
                bounded = min(max(ratio, ratio.new_tensor(1 - clip)), ratio.new_tensor(1 + high))
                x = reference[g][i][t] - now[g][i][t]
                value = value + min(ratio * advantage, bounded * advantage) - beta * (torch.exp(x) - x - 1)
            total = total - value / share(answers, i)
    return total / 6


def own_length(answers, i):
    return len(answers[i])


def mean_length(answers, i):
    del i
    return sum(map(len, answers)) / len(answers)


CASES = {
    "grpo": {"beta": 0.04, "clip": 0.2, "high": 0.2, "divide": True, "share": own_length, "whole": False},
    "dr_grpo": {"beta": 0.1, "clip": 0.3, "high": 0.3, "divide": False, "share": lambda *_: 7, "whole": False},
    "dapo": {"beta": 0.05, "clip": 0.2, "high": 0.35, "divide": True, "share": mean_length, "whole": False},
    "gspo": {"beta": 0.05, "clip": 0.02, "high": 0.03, "divide": True, "share": own_length, "whole": True},
}


@pytest.mark.parametrize("chunk", ["auto", 2])
@pytest.mark.parametrize("name", CASES)
def test_a_loss_is_its_formula(name, chunk):
    given = CASES[name]
    more = {"dr_grpo": {"budget": 7}, "grpo": {}}.get(name, {"clip_high": given["high"]})
    loss = build("loss", name, vocab_size=VOCAB, chunk=chunk, beta=given["beta"], clip=given["clip"], **more)
    model, before, start = policy(1), policy(2), policy(3)
    with torch.no_grad():  # not far from what drew, so that some tokens are beyond the clip and others are not
        for p, q in zip(before.parameters(), model.parameters()):
            p.copy_(q + 0.8 * p)
    batch = rows()
    batch = replace(
        batch, drawn=said_by(before, batch, tokens_read(VOCAB)), reference=said_by(start, batch, tokens_read(VOCAB))
    )
    terms = model(batch, loss).losses
    value, weight = terms["loss"]
    assert float(weight) == pytest.approx(2), "a group weighs 1"
    got = gradients(model, value / weight)
    with torch.no_grad():
        others = said(before), said(start)
    assert_same_loss(model, value / weight, got, formula(said(model), *others, **given))
    assert 0 < float(terms["clipped"][0] / weight) < 1
    assert float(terms["reward"][0] / weight) == pytest.approx((0.5 + 2 / 3) / 2)
    assert float(terms["length"][0] / weight) == pytest.approx(13 / 6)
    assert float(terms["kl"][0]) > 0


@pytest.mark.parametrize("name", CASES)
def test_rows_of_a_group_may_be_cut_anywhere_and_equal_rewards_teach_nothing(name):
    model, loss = policy(1), build("loss", name, vocab_size=VOCAB, beta=0.0)
    assert not loss.compares
    whole = rows()
    assert whole.rewards is not None
    parts = [
        replace(
            whole, **{n: getattr(whole, n)[i : i + 1] for n in ("ids", "targets", "weights", "valid", "rewards", "lengths")}
        )
        for i in range(6)
    ]
    alone = sum(float(model(part, loss).losses["loss"][0].detach()) for part in parts)
    assert alone == pytest.approx(float(model(whole, loss).losses["loss"][0].detach()), rel=1e-9)
    model(replace(whole, rewards=torch.full_like(whole.rewards, 0.7)), loss).losses["loss"][0].backward()
    assert all(float(p.grad.abs().max()) < 1e-9 for p in model.parameters() if p.grad is not None)


def test_what_is_missing_is_said():
    model, loss = policy(1), build("loss", "grpo", vocab_size=VOCAB)
    with pytest.raises(ValueError, match=r"batch\.reference"):
        model(rows(), loss)
    with pytest.raises(ValueError, match=r"batch\.lengths"):
        model(replace(rows(), lengths=None), build("loss", "dapo", vocab_size=VOCAB))
    with pytest.raises(ValueError, match=r"batch\.rewards"):
        model(replace(rows(), rewards=None), loss)


# -- runs ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = ["task.sample_tokens=6", "task.validation_every=2"]
    return words_of(tmp_path, "loss=grpo", "task.rewards=[{name: regex, pattern: '[a-m]'}]", *more)


def weights(folder):  # the last, and not those with the highest reward
    return dict(components.load(folder / "checkpoints" / "last.ckpt").model.named_parameters())


def figures(folder):
    return list(csv.DictReader((folder / "metrics.csv").open()))


def test_a_step_is_one_mean_over_prompts_however_it_is_cut(words, server, tmp_path):
    """In one piece, in four, and on two ranks: the same answers are drawn, and the same is learned."""
    options = [*words, "trainer.max_steps=3", "trainer.log_every_n_steps=1"]
    ranks = server.ranks(tmp_path, [*options, "trainer.strategy=ddp", "trainer.devices=2", "paths.runs=two"])
    whole = components.train(overrides=options, quiet=True)
    cut = components.train(overrides=[*options, "trainer.accumulate_grad_batches=4"], quiet=True)
    assert [rank.ended() for rank in ranks] == [0, 0], ranks[0].said + ranks[1].said
    (two,) = (tmp_path / "two" / "llama_tiny").iterdir()
    last = figures(whole.folder)[-1]
    for other in (cut.folder, two):
        for name, p in weights(whole.folder).items():
            torch.testing.assert_close(weights(other)[name], p, rtol=1e-9, atol=1e-11)
        for name, value in figures(other)[-1].items():
            if name.startswith(("val_", "train_")) and last[name]:
                assert float(value) == pytest.approx(float(last[name]), rel=1e-6, abs=1e-9), name
    assert {"train_reward", "train_kl", "train_clipped", "train_length", "val_reward", "val_kl", "val_length"} <= set(last)
    assert 0 < float(last["train_reward"]) < 1
    assert not last.get("val_perplexity")
    again = components.evaluate(whole.folder)
    for name in ("reward", "kl", "length"):
        assert again[name] == pytest.approx(float(last[f"val_{name}"]), rel=1e-5), "with the reference made again"


@pytest.mark.parametrize("more", [[], ["adapter=lora"]], ids=["all", "lora"])
def test_a_resumed_run_draws_and_learns_the_same(words, more):
    """Also in the middle of steps that one earlier policy draws for, which is in the checkpoint; beside an adapter it is the adapter alone."""
    options = [*words, *more, "task.steps_per_generation=3", "schedule=constant", "task.validation_every=10"]
    whole = components.train(overrides=[*options, "trainer.max_steps=4"], quiet=True)
    cut = components.train(overrides=[*options, "trainer.max_steps=2"], quiet=True).folder
    held = torch.load(cut / "checkpoints" / "last.ckpt", weights_only=True)["earlier_policy"]
    assert held["block"] == 0
    assert all("lora" in name or name.rpartition(".")[2] in ("a", "b", "down", "up") for name in held["weights"]) == bool(more)
    resumed = components.train(None, [f"resume={cut}", "trainer.max_steps=4"], quiet=True)
    assert all(torch.equal(p, weights(resumed.folder)[n]) for n, p in weights(whole.folder).items())
    rows = figures(resumed.folder)
    assert float(rows[-1]["val_kl"]) == float(figures(whole.folder)[-1]["val_kl"])


@pytest.mark.parametrize("loss", ["grpo", "dapo"])
def test_what_is_rewarded_becomes_likelier(words, loss):
    """Letters of one half of the alphabet are worth 1: their share rises from a quarter to nearly all answers. The best checkpoint has the highest reward."""
    run = components.train(
        overrides=[
            *words,
            f"loss={loss}",
            "trainer.max_steps=60",
            "task.validation_every=20",
            "task.batch_size=8",
            "schedule=constant",
        ],
        quiet=True,
    )
    rows = [r for r in figures(run.folder) if r["val_reward"]]
    assert float(rows[-1]["val_reward"]) > 0.8 > 0.5 > float(figures(run.folder)[0]["train_reward"])
    best = json.loads((run.folder / "summary.json").read_text())
    assert best["best_val_reward"] == max(float(r["val_reward"]) for r in rows)


def test_what_cannot_be_is_one_line(words):
    def refused(*more: str) -> str:
        with pytest.raises(UserError) as e:
            components.train(overrides=[*words, "trainer.max_steps=1", *more], quiet=True)
        return str(e.value)

    assert "no rule that judges" in refused("task.rewards=[judge]")
    assert "no regular expression" in refused("task.rewards=[{name: regex, pattern: '('}]")
    assert "exact_match" in refused("task.rewards=[exact_mach]")
    assert "int >= 2" in refused("task.group_size=1")
    for beta in ("0", "0.1"):  # without a reference too: each rank would wait for the others at another token
        assert "divided among ranks" in refused("trainer.strategy=fsdp2", "trainer.devices=2", f"loss.beta={beta}")
    assert "needs loss" in refused("loss=dpo") or "groups" in refused("loss=dpo")


def test_rewards_are_added_by_weight():
    from components.training.task._drawing import Drawing

    task = Drawing()
    task.scorers = [build("reward", "exact_match", weight=2.0), build("reward", "regex", pattern="x", weight=-0.5)]
    assert [task.reward_of(a, "", "ax") for a in ("ax", "b", "x")] == [1.5, 0.0, -0.5]
