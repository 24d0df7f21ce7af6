"""The table of docs/evaluation.md is what its kept figures give, and they say what the page says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench_scripts import script

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench():
    return script("evaluation")


@pytest.fixture(scope="module")
def runs(bench):
    return json.loads(bench.FIGURES.read_text(encoding="utf8"))


def test_the_page_has_the_table_of_the_kept_figures(bench, runs):
    text = bench.PAGE.read_text(encoding="utf8")
    assert bench.page(text, runs) == text
    assert bench.table(runs).count("\n") > 15


def test_the_measures_tell_the_runs_apart(runs):
    """The whole run is above chance, above what length alone gets, and above the run of one step, by more than two standard errors.

    The run of one step is at chance in cloze and matching; in minimal pairs it is not, as the page says.
    """
    first, *_, last = runs
    assert (first["steps"], last["steps"]) == (1, 1000)
    for name in ("cloze", "minimal_pairs", "matching"):
        start, end = first["evaluations"][name]["accuracy"], last["evaluations"][name]["accuracy"]
        bare = first["evaluations"][name].get("by_length", {}).get("value", start["chance"])
        assert name == "minimal_pairs" or abs(start["value"] - start["chance"]) < 3 * start["error"], name
        assert end["value"] - bare > 2 * end["error"], name
        assert end["value"] - start["value"] > 2 * (start["error"] ** 2 + end["error"] ** 2) ** 0.5, name
    assert last["bits_per_byte"] < first["bits_per_byte"] / 2


def test_the_table_by_hand(bench):
    figure = {"value": 0.5, "error": 0.0125, "count": 4, "chance": 0.2}
    bare = {"value": 0.25, "error": None, "count": 4, "chance": None}
    one = {"steps": 1, "bits_per_byte": 8.0, "evaluations": {"cloze": {"accuracy": figure, "by_frequency": bare}}}
    two = {**one, "steps": 1000, "evaluations": {"cloze": {"accuracy": {**figure, "value": 1.0}}}}
    assert bench.table([one, two]).splitlines() == [
        "| | chance | 1 step | 1,000 steps |",
        "|---|--:|--:|--:|",
        "| bits per byte | | 8.000 | 8.000 |",
        "| cloze: accuracy | 0.2 | 0.500 ± 0.013 | 1.000 ± 0.013 |",
        "| cloze: by frequency |  | 0.250 |  |",
    ]
