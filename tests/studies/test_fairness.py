"""Equal tuning for all, and a test that stops a variant no more often than it says."""

from __future__ import annotations

import math

import pytest

from components.core.errors import UserError
from components.studies import sequential
from components.studies.study import StudyRun
from components.studies.tuning import Tune, best, parse_tune, settings


def test_factors_stand_around_what_each_variant_has_and_values_are_the_same_for_all():
    options, factors = parse_tune("optimizer.lr:3,optimizer.weight_decay:[0,0.1]")
    assert options == {"optimizer.lr": (0.5, 1.0, 2.0), "optimizer.weight_decay": (0, 0.1)}
    tune = Tune(options, factors, 1_000_000, 20)
    tried = settings(tune, {"optimizer": {"lr": 0.03, "weight_decay": 0.5}})
    assert [t["optimizer.lr"] for t in tried] == [0.015, 0.015, 0.03, 0.03, 0.06, 0.06]
    assert {t["optimizer.weight_decay"] for t in tried} == {0, 0.1}
    assert parse_tune("a.b:5")[0]["a.b"] == (0.25, 0.5, 1.0, 2.0, 4.0)


@pytest.mark.parametrize("text", ["optimizer.lr", "optimizer.lr:1", "optimizer.lr:[1]", "optimizer.lr:x", ":3", "a.b:3,a.b:5"])
def test_what_gives_nothing_to_choose_from(text):
    with pytest.raises(UserError, match=r"^tune: "):
        parse_tune(text)


def test_an_option_that_a_variant_lacks_cannot_be_tuned():
    tune = Tune({"optimizer.lr": (0.5, 1.0)}, ("optimizer.lr",), 0, 20)
    with pytest.raises(UserError, match="this variant has no such option"):
        settings(tune, {"optimizer": {}})
    with pytest.raises(UserError, match="has no multiples"):
        settings(tune, {"optimizer": {"lr": None}})


def test_the_best_is_the_least_that_is_a_number():
    def run(lr, loss, state="done"):
        return StudyRun("a", 0, "tuning", {"lr": lr}, state=state, figures={"val_loss": loss})

    runs = [run(1, 3.0), run(2, 2.0), run(3, 1.0, "failed"), run(4, None), run(5, math.nan), run(6, 2.0)]
    assert best(runs, "val_loss", lower=True) == {"lr": 2}
    assert best(runs, "val_loss", lower=False) == {"lr": 1}
    assert best(runs[2:5], "val_loss", lower=True) is None


def test_a_variant_that_is_clearly_behind_is_stopped_and_one_ahead_never():
    pytest.importorskip("scipy")
    worse = [0.50, 0.51, 0.49, 0.50, 0.52]
    assert sequential.behind(worse, planned=8, variants=2) == 3
    assert sequential.behind([-d for d in worse], planned=8, variants=2) is None
    assert sequential.behind(worse[:2], planned=8, variants=2) is None, "two seeds are too few"
    assert sequential.behind(worse, planned=3, variants=1) is None, "the last seed stops nothing"
    assert sequential.behind([0.5, 0.5, 0.5], planned=8, variants=1) is None, "no spread, no test"


def test_a_variant_that_is_no_worse_is_stopped_in_at_most_five_of_a_hundred_studies():
    pytest.importorskip("scipy")
    import numpy as np

    draws = np.random.default_rng(0).normal(size=(1000, 3, 10))
    stopped = [any(sequential.behind(list(d), planned=10, variants=3) is not None for d in study) for study in draws]
    assert 0 < sum(stopped) <= 50 + 2 * math.sqrt(1000 * 0.05 * 0.95)
