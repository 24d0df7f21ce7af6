"""The answer of a study: what each variant's sentence says, which seeds it is of, and what is corrected over what."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from scipy import stats
from written_studies import speeds_of, study_of, whole

from components.studies import statistics
from components.studies.answer import answer
from components.studies.effect import CONSTANT, HIGHER, LOWER, NONE, ONE_SEED, SAME, UNTOLD
from components.studies.sentences import about, amount, rounded, with_error
from components.studies.study import StudyRun, read_study

RECIPE = [2.61, 2.58, 2.60, 2.63, 2.59]


def effects(study):
    return {row.variant: row.effect for row in answer(study, []).rows if row.effect is not None}


def one(losses, recipe=RECIPE):
    return effects(study_of({"recipe": recipe, "v": losses}))["v"]


def test_lower_and_higher_with_their_errors():
    differences = [-0.033, -0.029, -0.031, -0.032, -0.030]
    found = one([r + d for r, d in zip(RECIPE, differences)])
    test = stats.ttest_rel([r + d for r, d in zip(RECIPE, differences)], RECIPE)
    assert found.p == pytest.approx(test.pvalue)
    assert found.interval == pytest.approx(tuple(test.confidence_interval()))
    assert (found.verdict, found.sentence) == (LOWER, "lower by 0.0310 ± 0.0020")
    found = one([r - d for r, d in zip(RECIPE, differences)])
    assert (found.verdict, found.sentence) == (HIGHER, "higher by 0.0310 ± 0.0020")
    assert found.sd_single == pytest.approx(statistics.spread(RECIPE), rel=0.1)


def test_what_cannot_be_told_says_what_could_have_been_and_what_it_takes():
    found = one([2.62, 2.575, 2.61, 2.625, 2.595])
    assert found.verdict == UNTOLD
    sd = statistics.spread(found.differences)
    assert found.detectable == pytest.approx(statistics.detectable(sd, 5))
    assert statistics.power(found.detectable, sd, 5) == pytest.approx(0.8)
    needed = found.seeds_needed
    assert statistics.power(found.mean, sd, needed) >= 0.8 > statistics.power(found.mean, sd, needed - 1)
    assert found.sentence == (
        f"cannot be told: with 5 seeds a difference of {rounded(found.detectable)} would have been seen; to tell 0.0030 take about {needed}"
    )
    assert one([2.61001, 2.57999, 2.60], RECIPE[:3]).sentence.endswith("take more than 10,000")


def test_holm_and_the_level_of_power_are_over_all_variants_that_could_be_tested():
    study = whole()
    found = effects(study)
    tested = [e for e in found.values() if e.p is not None]
    assert len(tested) == 3
    assert [e.p_holm for e in tested] == pytest.approx(statistics.holm([e.p for e in tested]))
    assert {e.level for e in tested} == {0.05 / 3}
    unsure = found["model/ffn=mlp"]
    assert unsure.detectable == pytest.approx(statistics.detectable(unsure.sd, 5, 0.05 / 3))
    assert answer(study, []).tests == 3


def test_a_difference_that_is_found_alone_may_not_pass_among_many():
    shift = [r + d for r, d in zip(RECIPE, (0.010, 0.001, 0.013, 0.006, 0.009))]
    alone = one(shift)
    assert alone.verdict == HIGHER
    assert alone.p == alone.p_holm < 0.05
    many = {f"noise {i}": [r + (-1) ** (i + j) * 0.01 * (j + 1) for j, r in enumerate(RECIPE)] for i in range(9)}
    among = effects(study_of({"recipe": RECIPE, "v": shift, **many}))["v"]
    assert among.verdict == UNTOLD
    assert among.p == alone.p
    assert among.seeds_needed > 5, "what is not told takes more seeds than there are"


def test_equal_bits_one_seed_and_no_spread():
    assert (one(RECIPE).verdict, one(RECIPE).sentence) == (SAME, "the same to the last bit with each of 5 seeds")
    alone = one([2.71], [2.61])
    assert (alone.verdict, alone.interval, alone.p_holm) == (ONE_SEED, None, None)
    assert alone.sentence == "higher by 0.10 with one seed, which says nothing of others: take three or more"
    assert one([2.61], [2.61]).sentence.startswith("equal with one seed")
    fixed = one([3.0, 2.0], [2.5, 1.5])
    assert fixed.verdict == CONSTANT
    assert fixed.sentence == "higher by exactly 0.50 with each of 2 seeds: where nothing varies there is nothing to test"


def test_failed_and_diverged_runs_are_named_and_their_pairs_left_out():
    found = one([2.71, None, 2.69, math.inf, 2.70], [2.61, 2.58, None, 2.63, 2.59])
    assert found.seeds == (0, 4)
    assert found.lost == {1: "out of memory", 2: "the recipe: out of memory", 3: "no finite val_loss"}
    assert found.sentence.endswith(
        "without seed 1 (out of memory), seed 2 (the recipe: out of memory), seed 3 (no finite val_loss)"
    )
    none = one([None, math.nan, None])
    assert (none.verdict, none.mean) == (NONE, None)
    assert none.sentence == "not compared: seeds 0, 2 (out of memory), seed 1 (no finite val_loss)"
    orphan = one([2.6, 2.6], [None, None])
    assert orphan.sentence == "not compared: seeds 0, 1 (the recipe: out of memory)"
    assert answer(study_of({"recipe": [None], "v": [None]}), []).rows[0].mean is None


def test_a_figure_that_a_run_lacks_is_no_zero():
    study = study_of({"recipe": RECIPE, "v": RECIPE})
    runs = tuple(replace(r, figures={"tokens": 1.0}) if (r.variant, r.seed) == ("v", 3) else r for r in study.runs)
    assert effects(replace(study, runs=runs))["v"].lost == {3: "no finite val_loss"}


def test_seeds_are_paired_by_number_and_tuning_runs_do_not_count():
    study = study_of({"recipe": RECIPE, "v": [r + 0.1 for r in RECIPE]})
    mixed = replace(study, runs=(*reversed(study.runs), StudyRun("v", 1, "tuning", figures={"val_loss": 0.0})))
    assert effects(mixed) == effects(study)
    shifted = replace(study, runs=tuple(replace(r, seed=r.seed + 3) if r.variant == "v" else r for r in study.runs))
    assert effects(shifted)["v"].seeds == (3, 4)
    assert "the recipe has no run of it" in effects(shifted)["v"].sentence


def test_stopped_early_is_said():
    study = study_of({"recipe": RECIPE[:2], "v": [2.70, 2.69]})
    stopped = replace(study, variants=(study.variants[0], replace(study.variants[1], stopped_after=2)))
    assert effects(stopped)["v"].sentence.endswith("; stopped after 2 seeds")


def test_higher_may_be_better():
    study = replace(
        study_of({"recipe": RECIPE, "v": [r + d for r, d in zip(RECIPE, (0.1, 0.11, 0.1, 0.09, 0.1))]}), lower_is_better=False
    )
    found = answer(study, [])
    assert found.better(found.rows[1].effect) is True
    assert answer(replace(study, lower_is_better=True), []).better(found.rows[1].effect) is False


def test_further_figures_are_a_family_of_their_own():
    study = study_of(
        {"recipe": RECIPE, "v": [r + d for r, d in zip(RECIPE, (0.1, 0.11, 0.1, 0.09, 0.1))], "w": [*RECIPE[1:], 2.7]}
    )
    runs = tuple(
        replace(r, figures={**r.figures, "a": -r.figures["val_loss"], "b": 2 * r.figures["val_loss"]}) for r in study.runs
    )
    found = answer(replace(study, runs=runs, secondary=("a", "b")), [])
    assert [(e.metric, e.variant) for e in found.secondary] == [("a", "v"), ("a", "w"), ("b", "v"), ("b", "w")]
    assert [e.p_holm for e in found.secondary] == pytest.approx(statistics.holm([e.p for e in found.secondary]))
    assert found.rows[1].effect.p_holm == pytest.approx(2 * found.rows[1].effect.p), (
        "the figure that decides pays nothing for them"
    )


def test_what_it_costs():
    study = study_of({"recipe": RECIPE[:3], "v": RECIPE[:3]})
    row = answer(study, speeds_of(study)).rows[1]
    assert (row.seconds, row.tokens_per_second, row.peak_bytes) == (13.0, 3700.0, 91_000_000)
    assert row.flops == pytest.approx(51200 * row.flops_per_token)
    assert answer(study, []).rows[1].seconds is None


def test_it_is_plain_data_and_always_the_same():
    study = whole()
    first, again = (json.dumps(answer(study, speeds_of(study)).as_data(), allow_nan=False) for _ in range(2))
    assert first == again


def test_a_study_that_was_read_back_has_the_same_answer(tmp_path):
    """JSON knows no NaN: a run that diverged has null there."""
    study = whole()
    study.write(tmp_path)
    assert answer(read_study(tmp_path), speeds_of(study)) == answer(study, speeds_of(study))


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.03124, 0.0091, "0.031 ± 0.009"),
        (0.03124, 0.0123, "0.031 ± 0.012"),
        (0.03124, 0.0296, "0.03 ± 0.03"),
        (0.0312, 0.0995, "0.03 ± 0.10"),
        (1234.5, 61.0, "1,230 ± 60"),
        (3.1e-9, 2e-10, "3.10e-09 ± 2e-10"),
        (0.5, 0.0, "0.50"),
    ],
)
def test_no_more_digits_than_it_has(value, error, text):
    assert with_error(value, error) == text


def test_numbers_in_words():
    assert [rounded(v) for v in (0, 0.0199, 0.2, -12.34, 1234, 3e-12)] == ["0", "0.020", "0.20", "12", "1,200", "3.0e-12"]
    assert [about(n) for n in (7, 38, 99, 101, 437, 9001)] == ["7", "38", "99", "110", "440", "9,100"]
    assert [amount(v, u) for v, u in ((132_032, ""), (91e6, "B"), (950.0, ""), (12.5, "s"))] == [
        "132 k",
        "91 MB",
        "950",
        "12.5 s",
    ]
