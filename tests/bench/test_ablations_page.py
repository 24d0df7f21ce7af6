"""docs/ablations.md is what the kept studies give, they are the studies that the script asks for, and a claim holds only where an answer says so."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from bench_scripts import script

from components.studies.asked import Asked
from components.studies.design import combinations_of, sorted_words
from components.studies.planning import name_of
from components.studies.sizes.question import Question
from components.studies.study import Study, StudyRun, Variant, read_study

pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def bench():
    return script("ablations")


@pytest.fixture(scope="module")
def claims(bench):  # noqa: ARG001  which puts the folder of the scripts where they are found
    import ablation_claims

    return ablation_claims


def test_the_page_is_what_the_kept_studies_give(bench):
    assert bench.PAGE.read_text(encoding="utf8") == bench.page(), "python bench/ablations.py --write"


def test_the_kept_studies_are_those_that_are_asked_for(bench, claims):
    assert bench.kept()
    for name in bench.kept():
        asked, study = claims.STUDIES[name], read_study(bench.KEPT / name)
        question = Asked if isinstance(asked, claims.Comparison) else Question
        assert study.words == question(asked.words, **asked.asked).check().typed, f"--study {name} --write"
        assert all(run.state == "done" for run in study.runs)
        assert (bench.KEPT / name / bench.REPORT).is_file()


def test_what_is_kept_is_small(bench):
    assert sum(f.stat().st_size for f in bench.KEPT.rglob("*.*")) < 1_500_000


def test_claims_are_of_variants_that_their_study_has(claims):
    for asked in claims.STUDIES.values():
        if isinstance(asked, claims.Comparison):
            axes = sorted_words(asked.words, Path.cwd()).axes
            made = {name_of(c) for c in combinations_of(Asked(asked.words, **asked.asked).check().design, axes)}
            assert {name for c in asked.claims for name in (c.variant, c.against)} <= {"recipe", *made}
            assert int(asked.asked["seeds"]) >= 5


def losses(**means: float) -> Study:
    """Five seeds of each variant around a mean loss; the recipe's is 4."""
    noise = random.Random(0)
    variants = tuple(Variant(name, name == "recipe") for name in ("recipe", *means))
    runs = [
        StudyRun(v.name, seed, figures={"val_loss": means.get(v.name, 4.0) + noise.gauss(0, 0.002)})
        for v in variants
        for seed in range(5)
    ]
    return Study("tiny", (), variants, tuple(runs), seeds=tuple(range(5)))


@pytest.mark.parametrize(
    ("expected", "mean", "verdict"),
    [
        ("lower", 3.9, "held"),
        ("lower", 4.1, "did not hold"),
        ("lower", 4.0, "cannot be told"),
        ("higher", 4.1, "held"),
        ("higher", 3.9, "did not hold"),
        ("alike", 4.01, "held"),
        ("alike", 4.04, "cannot be told"),
        ("alike", 4.1, "did not hold"),
        ("alike", 3.9, "did not hold"),
        ("no higher", 4.01, "held"),
        ("no higher", 3.9, "held"),
        ("no higher", 4.1, "did not hold"),
    ],
)
def test_a_claim_holds_where_the_answer_says_so(claims, expected, mean, verdict):
    assert claims.Claim("", "other", expected).of(losses(other=mean))[0] == verdict


def test_a_claim_may_be_of_two_variants(claims):
    study = losses(one=3.9, other=3.8)
    assert claims.Claim("", "other", "lower", "one").of(study) == (
        "held",
        next(r.effect.sentence for r in claims.beside(study, "one").rows if r.variant == "other"),
    )
    assert claims.Claim("", "one", "lower", "other").of(study)[0] == "did not hold"


def test_a_variant_without_runs_can_be_told_neither_way(claims):
    study = losses(other=3.9)
    alone = Study("tiny", (), study.variants, tuple(r for r in study.runs if r.variant == "recipe"))
    assert claims.Claim("", "other", "lower").of(alone)[0] == "cannot be told"


def test_the_page_without_a_study_says_so(bench, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "KEPT", tmp_path)
    text = bench.page()
    assert "No study has been run." in text
    assert text.count("Not run yet: a (") == 1
