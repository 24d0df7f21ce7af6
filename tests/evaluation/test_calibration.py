"""Calibration against figures by hand, against torchmetrics, and for predictions that are calibrated by their making."""

from __future__ import annotations

import random
import statistics

import pytest
import torch
from torchmetrics.classification import BinaryCalibrationError

from components import build
from components.core.errors import UserError
from components.corpus.evaluation_api import EvalData, Prediction


class Says:
    def __init__(self, answers):
        self.answers = answers

    def predict(self, items):
        return [self.answers[i] for i in items]


def measure(answers, **options):
    return build("evaluation", "calibration", **options).measure(Says(answers), EvalData(items=lambda: range(len(answers))))


def test_by_hand():
    """Two bins of ten: in [0.6, 0.7) two of confidence 0.65 with one right, in [0.9, 1] two of 0.9 and 1.0 with both right."""
    found = measure([[Prediction(0.65, 0), Prediction(0.65, 3)], [Prediction(0.9, 0), Prediction(1.0, 0)]], bins=10, top=3)
    assert found["accuracy"].value == 0.75
    assert found["top_3_accuracy"].value == 0.75
    assert measure([[Prediction(0.65, 3), Prediction(1.0, 0)]], top=4)["top_4_accuracy"].value == 1.0
    assert found["confidence"].value == pytest.approx(0.8)
    assert found["expected_calibration_error"].value == pytest.approx((2 * 0.15 + 2 * 0.05) / 4)
    assert found["largest_gap"].value == pytest.approx(0.15)
    assert set(measure([[Prediction(1.0, 0)]], top=1)) == set(found) - {"top_3_accuracy"}


@pytest.mark.parametrize("bins", [7, 15])
def test_as_torchmetrics_has_it(bins):
    order = random.Random(0)
    made = [Prediction(order.uniform(0.5, 1.0), int(order.random() < 0.3)) for _ in range(500)]
    found = measure([[p] for p in made], bins=bins)
    theirs = BinaryCalibrationError(n_bins=bins)(
        torch.tensor([p.confidence for p in made]), torch.tensor([int(p.rank == 0) for p in made])
    )
    assert found["expected_calibration_error"].value == pytest.approx(float(theirs), abs=1e-5)


def test_who_is_right_as_often_as_he_is_sure_has_no_error_and_who_is_too_sure_has_one():
    order = random.Random(1)
    sure = [order.random() for _ in range(20000)]
    calibrated = [[Prediction(c, int(order.random() >= c))] for c in sure]
    assert measure(calibrated, count=20000)["expected_calibration_error"].value < 0.015
    too_sure = [[Prediction(min(1.0, c + 0.2), p[0].rank)] for c, p in zip(sure, calibrated)]
    assert measure(too_sure, count=20000)["expected_calibration_error"].value == pytest.approx(0.18, abs=0.015)


def test_the_error_counts_documents_not_tokens():
    """Documents that are all right or all wrong are as many draws as there are documents."""
    documents = [[Prediction(0.5, i % 2)] * 50 for i in range(40)]
    found = measure(documents)["accuracy"]
    assert found.count == 2000
    assert found.error == pytest.approx(0.5 / 39**0.5)


def test_the_errors_are_those_that_drawing_again_shows():
    """Many test sets of the same model: how much their figures differ is what one of them says of itself; tokens of one document are alike."""
    order, found = random.Random(2), []
    for _ in range(150):
        documents = []
        for _ in range(60):
            bad = order.random() < 0.5  # the model is too sure of half of the documents
            sure = [order.uniform(0.5, 1.0) for _ in range(20)]
            documents.append([Prediction(c, int(order.random() >= c - 0.4 * bad)) for c in sure])
        found.append(measure(documents, bins=5))
    for name in ("expected_calibration_error", "confidence", "accuracy"):
        seen = statistics.stdev(f[name].value for f in found)
        said = statistics.mean(f[name].error for f in found)
        assert said == pytest.approx(seen, rel=0.2), name
    assert measure([[Prediction(0.7, 0)]])["expected_calibration_error"].error is None


def test_nothing_to_predict_is_said():
    with pytest.raises(UserError, match="nothing to predict"):
        measure([])
