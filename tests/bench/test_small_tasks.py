"""The small tasks can be answered, their models have equally many parameters, and their page is what its runs give."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
import torch
from bench_scripts import script

FILE = Path(__file__).parents[2] / "bench" / "small_tasks.py"


@pytest.fixture(scope="module")
def bench():
    return script("small_tasks")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def looked_up(row: list[int], at: int) -> int:
    """What followed the last time that the letter at ``at`` stood before."""
    earlier = [i for i in range(at) if row[i] == row[at]]
    return row[earlier[-1] + 1]


@pytest.mark.parametrize(("task", "options", "per_row"), [("recall", {"pairs": 32}, 32), ("induction", {}, 8)])
def test_recall_and_induction_are_answered_by_looking_up(bench, task, options, per_row):
    ids, targets = bench.TASKS[task](20, generator(), **options)
    assert ids.shape == targets.shape == (20, {"recall": 128, "induction": 64}[task])
    assert ((targets != -100).sum(1) == per_row).all()
    asked = [(r, t) for r in range(20) for t in range(ids.shape[1]) if targets[r, t] != -100]
    rows = ids.tolist()
    assert all(looked_up(rows[r], t) == targets[r, t] for r, t in asked)
    # a letter says nothing about its value without the row: values differ between rows
    assert len({(rows[r][t], int(targets[r, t])) for r, t in asked}) > 0.9 * len(asked)


def test_recall_asks_every_key_once_in_another_order(bench):
    ids, targets = bench.recall(20, generator(), pairs=32)
    first, again = ids[:, 0:64:2], ids[:, 64::2]
    assert (first.sort(1).values == again.sort(1).values).all()
    assert all(len(set(row)) == 32 and max(row) < 64 for row in first.tolist())
    assert (first == again).float().mean() < 0.1
    assert (targets[:, 64::2] == ids[:, 65::2]).all()
    assert (ids[:, 1::2] >= 64).all()


def test_copy_repeats_what_stood_before_the_sign(bench):
    ids, targets = bench.copy(20, generator(), letters=16)
    assert ids.shape == (20, 33)
    assert (ids[:, 16] == 0).all()
    assert (ids[:, :16] > 0).all()
    assert (targets[:, 16:32] == ids[:, :16]).all()
    assert (targets[:, :16] == -100).all()
    assert (targets[:, 32] == -100).all()


def test_training_batches_have_every_size(bench):
    sizes = {task: {bench.TASKS[task](1, generator(n))[0].shape[1] for n in range(200)} for task in bench.TASKS}
    assert sizes["recall"] == {16, 32, 64, 128}
    assert sizes["induction"] == {64}
    assert sizes["copy"] == {2 * n + 1 for n in range(4, 17)}


def test_parameters_are_equal_within_five_percent(bench):
    jobs = bench.jobs([], [])
    assert len(jobs) == 3 * 11
    assert {a for _, a, _ in jobs} == set(bench.ATTENTIONS)
    assert {p for _, _, p in jobs} == set(bench.POSITIONS)
    for task in bench.TASKS:
        counts = {job: bench.equal_width(*job)[1] for job in jobs if job[0] == task}
        assert max(counts.values()) <= 1.05 * min(counts.values()), counts


def test_counted_is_built(bench):
    d_ff, counted = bench.equal_width("copy", "gqa", "learned")
    assert counted == sum(p.numel() for p in bench.model_of("copy", "gqa", "learned", d_ff).parameters())


def test_learning_rate_rises_and_falls(bench):
    factors = [bench.factor_of(step, 100) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * (n + 1) for n in range(10)])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert 0 < factors[-1] < 0.01


def test_a_run_is_the_same_twice_and_depends_on_its_seed(bench):
    first, again, other = (bench.trained("copy", "linear", "none", 1e-2, seed, steps=3) for seed in (0, 0, 1))
    for run in (first, again, other):
        del run["seconds"]
    assert first == again
    assert first["validation loss"] != other["validation loss"]
    assert set(first["test"]) == {"copy", "copy longer"}


def test_the_best_rate_is_that_of_validation(bench):
    runs = [
        {"seed": 0, "rate": 1e-3, "validation": 0.9, "validation loss": 0.1, "test": {"copy": 1.0}},
        {"seed": 0, "rate": 3e-3, "validation": 0.9, "validation loss": 0.05, "test": {"copy": 0.1}},
        {"seed": 1, "rate": 1e-2, "validation": 1.0, "validation loss": 0.0, "test": {"copy": 1.0}},
    ]
    assert bench.best_rate(runs) == 3e-3


def test_the_page_is_made_from_the_runs(bench):
    stored = bench.load()
    assert bench.PAGE.read_text(encoding="utf8") == bench.page(stored), "python bench/small_tasks.py --render"
    assert stored["settings"] == json.loads(json.dumps(bench.SETTINGS)), "the script has changed since its runs: --write"


def test_what_the_literature_has_figures_for_is_there_whole(bench):
    """The other runs may be missing: then the page says how many there are, and the cell that it is not run."""
    runs = bench.load()["runs"]
    rates, seeds = bench.SETTINGS["rates"], bench.SETTINGS["seeds"]
    for job in bench.jobs([], []):
        mine = bench.of_job(runs, job)
        if bench.named(job):
            assert sorted(r["rate"] for r in mine if r["seed"] == seeds[0]) == rates, job
            assert [r["seed"] for r in bench.chosen(runs, job)] == seeds, job
        if mine:
            assert {(r["d_ff"], r["parameters"]) for r in mine} == {bench.equal_width(*job)}, (
                "the parts have changed since: --write"
            )
    whole = 33 * (len(rates) + len(seeds) - 1)
    text = bench.PAGE.read_text(encoding="utf8")
    assert (f"{len(runs)} of {whole} runs were made" in text) == (len(runs) < whole)


def test_the_table_says_what_the_runs_say(bench):
    """The mean of softmax attention's recall, looked up here by hand."""
    runs = [r for r in bench.load()["runs"] if (r["task"], r["attention"], r["position"]) == ("recall", "gqa", "none")]
    tried = {r["rate"]: r["validation"] for r in runs if r["seed"] == 0}
    best = [rate for rate, value in tried.items() if value == max(tried.values())]
    mean = statistics.mean(r["test"]["recall"] for r in runs if r["rate"] in best)
    row = next(line for line in bench.PAGE.read_text(encoding="utf8").splitlines() if line.startswith("| softmax (gqa) |"))
    assert row.split("|")[3].strip().startswith(f"{mean:.3f} ± ")
