"""Ranks that know different things still make the same calls: sums, metrics, facts. Ranks are threads here (tests/threaded.py)."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassCalibrationError

import components
from components.core import collectives
from components.core.errors import UserError
from components.training.task import _answers
from components.training.task._answers import Answering
from components.training.task._training import Training

sys.path.insert(0, str(Path(__file__).parents[1]))
from threaded import on_ranks

SRC = Path(components.__file__).parent
# who may talk to other ranks: each function of these files is called by all ranks or by none
TALKING = {
    "core/collectives.py",
    "core/owners.py",  # whoever knows the layout knows who calls
    "training/preemption.py",  # between steps, which all ranks take
    "training/saving.py",  # where all ranks save
    "training/strategy/_saved.py",  # all ranks save, where Lightning's own callbacks do
    "training/strategy/_sent.py",  # between parts of a layer, where a group's ranks know the choices of all of them
    "training/strategy/fsdp2.py",  # all ranks load, before training
    "core/weights.py",  # shards of a whole tensor, parameter by parameter
}
COLLECTIVES = {
    *(
        "all_reduce",
        "all_gather",
        "all_gather_object",
        "all_gather_into_tensor",
        "broadcast",
        "broadcast_object_list",
        "barrier",
    ),
    *(
        "reduce_scatter",
        "reduce_scatter_tensor",
        "gather_object",
        "scatter_object_list",
        "all_to_all_single",
        "monitored_barrier",
    ),
    *("sync_dist", "reduce_boolean_decision"),
}


def test_one_file_talks_to_other_ranks():
    found = {}
    for file in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
            called = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
            of_metric = called == "compute" and file.parent.name == "task"
            if called in COLLECTIVES or of_metric:
                found.setdefault(str(file.relative_to(SRC)), set()).add(called)
    assert "core/collectives.py" in found
    assert not found.keys() - TALKING, (
        "call components.core.collectives instead: a condition of one rank's own would wait for ever"
    )


def test_sums_of_names_that_only_some_ranks_have():
    def run(rank):
        over = collectives.Sums()
        first = over({"loss": torch.tensor([1.0 + rank, 2.0], dtype=torch.float64)})
        second = over({"loss": torch.tensor([1.0, 1.0])} | ({"late": torch.tensor([5.0, 3.0])} if rank == 2 else {}))
        third = over({} if rank else {"late": torch.tensor([1.0, 1.0])})
        return first, second, third, over({})

    for first, second, third, none in on_ranks(3, run):
        assert {n: v.tolist() for n, v in first.items()} == {"loss": [6.0, 6.0]}
        assert first["loss"].dtype == torch.float64
        assert {n: v.tolist() for n, v in second.items()} == {"late": [5.0, 3.0], "loss": [3.0, 3.0]}
        assert {n: v.tolist() for n, v in third.items()} == {"late": [1.0, 1.0]}, "nobody had a loss"
        assert none == {}


def test_statistics_of_a_step_need_one_reduction(monkeypatch):
    calls = []
    reduce_all = torch.distributed.all_reduce
    monkeypatch.setattr(collectives.dist, "all_reduce", lambda t, **over: (calls.append(t.shape), reduce_all(t, **over)))

    def run(rank):
        over = collectives.Sums(steady=True)
        names = ("a.load", "b.load", "c.load")
        over({n: torch.ones(4) for n in names[: 1 + rank]})
        calls.clear()
        return over.pending, over({n: torch.ones(4) * rank for n in names[1:]} if rank == 2 else {})

    for pending, stats in on_ranks(3, run):
        assert pending, "a rank with nothing to add takes part"
        assert {n: v.tolist() for n, v in stats.items()} == {"a.load": [0] * 4, "b.load": [2] * 4, "c.load": [2] * 4}
    assert len(calls) <= 3, "one of each rank"

    def late(_):
        over = collectives.Sums(steady=True)
        over({"a": torch.ones(1)})
        return over({"b": torch.ones(1)})

    assert all("b: written in this step and not in the first" in str(e) for e in on_ranks(2, late))
    shapes = on_ranks(2, lambda rank: collectives.Sums()({"a": torch.ones(1 + rank)}))
    assert all("on one rank and" in str(e) for e in shapes)


def test_metrics_that_one_rank_or_none_has_fed():
    """As tasks feed them: only where something is asked. Values are those of one process."""
    chances, answers = (
        torch.rand(6, 3, generator=torch.Generator().manual_seed(0)).softmax(-1),
        torch.tensor([0, 1, 2, 1, 0, 2]),
    )

    def made():
        return {"mean": MeanMetric(), "calibration": MulticlassCalibrationError(3), "unfed": MeanMetric()}

    def fed(metrics):
        metrics["mean"].update(torch.tensor([1.0, 0.0, 0.0]))
        metrics["calibration"].update(chances, answers)
        return metrics

    alone = collectives.computed(fed(made()))
    assert alone.keys() == {"mean", "calibration"}

    def run(rank):
        metrics = fed(made()) if rank == 1 else made()
        return collectives.computed(metrics), collectives.computed(metrics)

    for taken, again in on_ranks(3, run):
        assert taken == pytest.approx(alone)
        assert again == {}, "taken once"


class Answers(Answering):
    """Answers to three questions, without a model."""

    scored = 3

    def __init__(self, calls):
        nn.Module.__init__(self)
        self.metrics, self.measured_on, self.calls = nn.ModuleDict(self.measures()), list(range(3)), calls

    device = torch.device("cpu")

    def ask(self, examples):
        self.calls.append(len(examples))
        return ["the tree stands by a river", "no", "three old birds sing over there"][: len(examples)]

    def asked_and_answer(self, example):
        return "", ["the tree falls by a road", "no", "two old birds walk over here"][example]


def test_answers_are_asked_of_all_ranks_or_of_none_and_counted_once():
    """Generating gathers shards; and BLEU's smoothing is not that of one process if each rank counts the same answers."""

    def run(rank, ranks_that_measured):
        calls = []
        task = Answers(calls)
        if rank in ranks_that_measured:
            task.metrics["token_accuracy"].update(torch.ones(2))
        return task.take_metrics(), len(calls)

    ((alone, _),) = [run(0, {0})]
    assert 0 < alone["bleu"] < 1
    for taken, asked in on_ranks(2, lambda rank: run(rank, {1})):
        assert taken == pytest.approx(alone)
        assert asked == 1
    assert on_ranks(2, lambda rank: run(rank, set())) == [({}, 0)] * 2
    assert _answers.rank() == 0


def test_a_step_in_which_this_rank_has_no_statistics():
    """``after_step`` of one rank sees what all ranks have counted, whoever wrote it."""

    def run(rank):
        seen = []
        task = Training.__new__(Training)
        nn.Module.__init__(task)
        task.stats, task._stats_over = {}, collectives.Sums(steady=True)
        task._followers = [SimpleNamespace(after_step=lambda stats: seen.append({n: v.tolist() for n, v in stats.items()}))]
        for step in range(2):
            task.stats = {"r.load": torch.tensor([1.0, 2.0])} if rank == 0 or step == 0 else {}
            task.after_optimizer_step()
        return seen

    assert on_ranks(2, run) == [[{"r.load": [2.0, 4.0]}, {"r.load": [1.0, 2.0]}]] * 2


def test_facts_that_ranks_have_found_by_themselves():
    def run(rank):
        collectives.same_everywhere({"step": 5, "data": "abc" if rank < 2 else "xyz"}, "let all ranks read the same files")

    for error in on_ranks(3, run):
        assert isinstance(error, UserError)
        assert str(error) == "rank 2: its data is xyz, that of the first rank abc; let all ranks read the same files"
    assert on_ranks(2, lambda _: collectives.same_everywhere({"step": 5}, "")) == [None, None]
