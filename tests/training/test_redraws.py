"""DAPO's dynamic sampling: groups that are alike make room for others, and a step's mean is over those that differ."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from drawn_runs import words_of

import components
from components.core.errors import UserError
from components.core.sockets import Batch, Terms
from components.corpus.row import Row
from components.corpus.rows import batch_of
from components.corpus.steps import MicroBatch
from components.training.task._redrawing import FAR, Groups, Redrawing

pytestmark = pytest.mark.usefixtures("warm_processes")


@pytest.fixture
def words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = ["task.validation_every=10", "trainer.log_every_n_steps=1"]
    return words_of(tmp_path, "loss=dapo", "task.rewards=[{name: regex, pattern: '[a-z]'}]", "task.sample_tokens=2", *more)


def train(words, *more):
    return components.train(overrides=[*words, *more], quiet=True).folder


def weights(folder):
    return dict(components.load(folder / "checkpoints" / "last.ckpt").model.named_parameters())


def figures(folder):
    return list(csv.DictReader((folder / "metrics.csv").open()))


# -- which groups stay ----------------------------------------------------------------------------------------------------


class Written(Redrawing):
    """Draws for row n what is worth ``table[n][draw]``."""

    _trainer = None

    def __init__(self, table):
        self.table, self.asked = table, []

    def others(self, numbers, draw):
        self.asked.append((draw, list(numbers)))
        return Batch(torch.tensor([[n, draw] for n in numbers]))

    def groups_for(self, batch, numbers, drawn_for):
        assert drawn_for == f"answers, draw {int(batch.ids[0, 1]) + 1}"
        rewards = torch.tensor([self.table[n][int(draw)] for n, (_, draw) in zip(numbers, batch.ids)])
        return Groups([[n] for n in numbers], [[[n, int(d)]] * 2 for n, d in batch.ids.tolist()], rewards)


def test_alike_groups_are_drawn_again_up_to_the_bound_and_no_others():
    """Of four prompts one differs at once, one after one draw anew, one after two, one never: the condition 0 < right < G of equation 11, by hand."""
    table = {
        7: [[1.0, 0.0]],
        8: [[1.0, 1.0], [0.0, 1.0]],
        9: [[0.0, 0.0], [1.0, 1.0], [0.5, 0.0]],
        10: [[0.0, 0.0]] * 3,
    }
    for bound, differ, asked in (
        (1, [True, True, False, False], [(1, [8, 9, 10])]),
        (2, [True, True, True, False], [(1, [8, 9, 10]), (2, [9, 10])]),
    ):
        drawn = Written(table)
        groups = Groups([[n] for n in table], [[[n, 0]] * 2 for n in table], torch.tensor([table[n][0] for n in table]))
        again = drawn.draw_again(groups, list(table), "answers", bound, torch.device("cpu"))
        assert again.tolist() == [False, True, True, True]
        assert (~groups.alike()).tolist() == differ
        assert drawn.asked == asked
        assert groups.answers[1][0] == [8, 1], "the answers go with their rewards"
        assert groups.answers[2][0] == [9, bound]


class Numbered:
    n_blocks = 5

    def batch(self, epoch, indices):
        return batch_of([Row([1 + epoch // FAR, epoch % FAR, i], [-100, -100, i]) for i in indices])


def test_what_takes_a_place_is_a_function_of_the_rows_number_and_of_the_draw():
    task = Redrawing()
    task.learned_on = Numbered()
    assert task.others([3, 12], 2).ids.tolist() == [[3, 0, 3], [3, 2, 2]]


# -- runs -----------------------------------------------------------------------------------------------------------------


def expected(task, batches, draws):
    """The mean over the groups that differ, each drawn alone by its own number: equation 11, group by group."""
    total, kept, again = 0.0, 0, 0
    for number, batch in batches:
        for draw in range(draws + 1):
            given = batch if draw == 0 else task.others([number], draw)
            name = "answers to learn from" + (f", draw {draw + 1}" if draw else "")
            groups = task.groups_for(given, [number], name)
            if len({float(r) for r in groups.rewards[0]}) > 1:
                break
        again += draw > 0
        rewards = groups.rewards[0]
        if len({float(r) for r in rewards}) == 1:
            continue
        kept += 1
        (prompt,), (answers,) = groups.prompts, groups.answers
        tokens, value = sum(map(len, answers)), 0.0
        for answer, reward in zip(answers, rewards):
            logits = task.placed(torch.tensor([[*prompt, *answer]])).log_softmax(-1)[0]
            now = torch.stack([logits[len(prompt) - 1 + t, token] for t, token in enumerate(answer)])
            advantage = (reward - rewards.mean()) / (rewards.std() + 1e-4)
            value = value - (torch.exp(now - now.detach()) * advantage).sum() / tokens
        total = total + value
    return total / max(kept, 1), kept, again


def test_a_step_is_the_mean_over_groups_that_differ(words):
    """Loss, gradient and the two shares against the formula, whose groups are drawn one by one."""
    recipe = components.load_recipe(overrides=[*words, "task.redraws=1"])
    task, data = recipe.task, recipe.data
    task.place(task.new_model().double(), "cpu")
    task.placed.double()
    data.prepare_data()
    seen = set()
    for _, item in zip(range(3), data.train_dataloader()):
        assert isinstance(item, MicroBatch)
        numbers = item.samples.tolist()
        places = [divmod(n, data.train.n_blocks) for n in numbers]
        rows = [data.train.batch(epoch, [index]) for epoch, index in places]
        wanted, kept, again = expected(task, list(zip(numbers, rows)), 1)
        task.zero_grad()
        loss = task.training_step(item, 0)
        assert float(loss.detach()) == pytest.approx(float(torch.as_tensor(wanted).detach()), abs=1e-9)
        loss.backward()
        got = {n: p.grad.clone() for n, p in task.placed.named_parameters() if p.grad is not None}
        task.zero_grad()
        if kept:
            wanted.backward()
            for n, p in task.placed.named_parameters():
                if p.grad is not None:
                    torch.testing.assert_close(got[n], p.grad, rtol=1e-6, atol=1e-9)
        shares = {n: float(task.train_sums[n][0]) for n in ("redrawn", "alike")}
        assert shares == {"redrawn": again, "alike": 4 - kept}
        task.train_sums.clear()
        seen.add((kept, again))
    assert any(0 < kept < 4 and again for kept, again in seen), "some groups were replaced, and some left out"


def test_a_step_is_one_mean_however_it_is_cut(words, server, tmp_path):
    """In one piece, in four, and on two ranks: other prompts are drawn for, and some are left out in each."""
    options = ["task.redraws=1", "trainer.max_steps=3", "loss.beta=0.02"]
    ranks = server.ranks(tmp_path, [*words, *options, "trainer.strategy=ddp", "trainer.devices=2", "paths.runs=two"])
    whole, cut = train(words, *options), train(words, *options, "trainer.accumulate_grad_batches=4")
    assert [rank.ended() for rank in ranks] == [0, 0], ranks[0].said + ranks[1].said
    (two,) = (tmp_path / "two" / "llama_tiny").iterdir()
    rows = figures(whole)
    for other in (cut, two):
        for name, p in weights(whole).items():
            torch.testing.assert_close(weights(other)[name], p, rtol=1e-8, atol=1e-10)
        for mine, theirs in zip(rows, figures(other), strict=True):
            for name in ("train_loss", "train_reward", "train_redrawn", "train_alike", "train_kl"):
                assert float(theirs[name]) == pytest.approx(float(mine[name]), rel=1e-6, abs=1e-9), name
    assert any(0 < float(r["train_alike"]) < float(r["train_redrawn"]) < 1 for r in rows), rows


@pytest.mark.parametrize("every", [1, 3])
def test_a_resumed_run_draws_the_same_again(words, every):
    options = ["task.redraws=2", f"task.steps_per_generation={every}", "schedule=constant"]
    whole, cut = train(words, *options, "trainer.max_steps=4"), train(words, *options, "trainer.max_steps=2")
    resumed = components.train(None, [f"resume={cut}", "trainer.max_steps=4"], quiet=True).folder
    assert all(torch.equal(p, weights(resumed)[n]) for n, p in weights(whole).items())
    assert float(figures(whole)[-1]["train_redrawn"]) > 0


def test_what_cannot_be_is_one_line(words):
    with pytest.raises(UserError, match="int >= 0"):
        train(words, "task.redraws=-1", "trainer.max_steps=1")
    with pytest.raises(UserError, match="overfit_batches"):
        train(words, "task.redraws=1", "trainer.max_steps=2", "trainer.overfit_batches=1")


def test_a_layers_loss_weighs_as_the_groups_do(words):
    """A balance of 0.5 adds 0.5 to a step, however many tokens are drawn to a prompt."""
    task = components.load_recipe(overrides=words).task
    batch = Batch(torch.zeros(6, 5, dtype=torch.long))
    terms = Terms({"loss": (torch.tensor(0.0), torch.tensor(2.0)), "balance": (torch.tensor(15.0), torch.tensor(30.0))})
    task._asked = {"loss"}
    totals = torch.tensor([4.0, 17.0])  # four prompts, of which two are in this micro-batch
    assert float(task.share_of_mean(terms, batch, totals)) == pytest.approx(0.25)
