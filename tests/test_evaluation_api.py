"""Shares and their standard errors, ties, and draws."""

from __future__ import annotations

import random
import statistics

import pytest

from components.corpus.evaluation_api import mean_with_error, sample, top1_credit


def test_a_share_and_its_error():
    found = mean_with_error([1, 0, 0, 1], chance=0.5)
    assert (found.value, found.count, found.chance) == (0.5, 4, 0.5)
    assert found.error == pytest.approx(0.5 / 3**0.5)
    assert mean_with_error([1.0]).error is None


def test_the_error_is_how_far_shares_of_new_draws_lie_apart():
    order = random.Random(0)

    def once():
        documents = [order.random() for _ in range(40)]  # each as hard as it is
        groups = [i for i in range(40) for _ in range(10)]
        return mean_with_error([float(order.random() < documents[i]) for i in groups], groups)

    made = [once() for _ in range(300)]
    spread = statistics.stdev(f.value for f in made)
    assert statistics.mean(f.error for f in made) == pytest.approx(spread, rel=0.15)
    assert spread > 1.5 * (0.25 / 400) ** 0.5, "taken as apart they would seem surer than they are"


def test_items_of_few_documents_count_as_apart():
    hits = [1.0, 0.0] * 20
    assert mean_with_error(hits, [0] * 40).error == pytest.approx(mean_with_error(hits).error)


def test_won():
    assert top1_credit([2.0, 1.0]) == 1.0
    assert top1_credit([1.0, 2.0]) == 0.0
    assert top1_credit([1.0, 1.0, 0.0]) == 0.5


def test_drawn():
    items = list(range(100))
    assert sample(items, 200, 0) == items
    some = sample(items, 10, 0)
    assert some == sorted(some) == sample(items, 10, 0)
    assert len(set(some)) == 10
    assert some != sample(items, 10, 1)


def test_the_names_of_before_are_the_same_objects():
    from components.measuring import Asked, Held
    from components.measuring import drawn as old_sample

    import components.corpus.evaluation_api as api

    assert (Asked, Held, old_sample) == (api.EvaluatedModel, api.EvalData, api.sample)
