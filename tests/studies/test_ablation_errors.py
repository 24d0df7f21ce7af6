"""An ablation does not cry wolf, and sees what is there: studies resampled from 160 real runs (docs/ablation_errors.json)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from bench_scripts import script
from written_studies import study_of

from components.studies.answer import answer
from components.studies.effect import UNTOLD
from components.studies.statistics import ALPHA, POWER

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench():
    return script("ablation_errors")


@pytest.fixture(scope="module")
def held(bench):
    return json.loads(bench.HELD.read_text(encoding="utf8"))


def noise(share, studies):
    """Three standard errors of a share among so many studies."""
    return 3 * math.sqrt(share * (1 - share) / studies)


def test_the_runs_are_of_what_the_script_says(bench, held):
    assert (held["recipe"], held["settings"], held["variants"]) == (bench.RECIPE, bench.SETTINGS, bench.VARIANTS)
    assert {len(values) for values in held["losses"].values()} == {bench.SEEDS}
    assert bench.SEEDS >= 40
    assert len(set(held["losses"]["recipe"])) == bench.SEEDS, "seeds differ"


@pytest.mark.slow
def test_the_page_has_the_table_of_the_kept_runs(bench, held):
    text = bench.PAGE.read_text(encoding="utf8")
    assert bench.page(text, held["losses"]) == text, "python bench/ablation_errors.py --render"


@pytest.mark.slow
def test_a_kept_run_is_made_again(bench, held):
    """The figures are those of runs: two of them, trained anew, up to the rounding of another machine."""
    for variant in ("recipe", "model.ffn.d_ff=144"):
        assert bench.train(variant, 7) == pytest.approx(held["losses"][variant][7], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("paired", [True, False], ids=["paired", "unpaired"])
def test_it_does_not_cry_wolf(bench, held, seeds, paired):
    for variant in bench.SAME:
        alarms = bench.share(bench.verdicts(held["losses"], variant, seeds, paired=paired))
        assert alarms <= ALPHA + noise(ALPHA, bench.STUDIES), variant


@pytest.mark.slow
def test_a_study_of_both_does_not_either(bench, held):
    """The whole way, with Holm's correction: any sentence that says lower or higher is a false alarm."""
    import random

    chance, alarms, studies = random.Random(3), 0, 500
    for _ in range(studies):
        drawn = chance.sample(range(bench.SEEDS), 4)
        losses = {name: [held["losses"][name][s] for s in drawn] for name in ("recipe", *bench.SAME)}
        found = answer(study_of(losses), [])
        alarms += any(row.effect.verdict != UNTOLD for row in found.rows[1:])
    assert alarms / studies <= ALPHA + noise(ALPHA, studies)


@pytest.mark.slow
def test_it_sees_what_is_there_with_the_seeds_that_were_named(bench, held):
    for variant in bench.HANDICAPS:
        seeds = bench.named(held["losses"], variant)
        assert seeds <= bench.SEEDS // 2, f"{variant}: too many to resample from {bench.SEEDS}"
        assert bench.share(bench.verdicts(held["losses"], variant, seeds)) >= POWER, variant


@pytest.mark.slow
def test_pairing_is_what_sees_it(bench, held):
    for variant in bench.HANDICAPS:
        seeds = bench.named(held["losses"], variant)
        paired, apart = (bench.share(bench.verdicts(held["losses"], variant, seeds, paired=p)) for p in (True, False))
        assert apart < paired - noise(0.5, bench.STUDIES), variant
