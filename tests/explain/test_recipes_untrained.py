"""A recipe is explained as it is before training: refused where it could not be trained either, and nothing that is said is dropped."""

from __future__ import annotations

import pytest

import components
from components.core.errors import UserError

LEAF = {"prompt": "32,107,56,11.2"}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("model.head.n_classes=5", r"model\.head\.n_classes: 5 scores for 2 labels of the data"),
        ("resume=auto", r"resume=: the recipe ladder/01_leaf_flower is looked at as it is"),
        ("recipe=llama_tiny", r"recipe=: the recipe ladder/01_leaf_flower is looked at as it is"),
    ],
)
def test_what_does_not_fit_is_refused(said, reason):
    with pytest.raises(UserError, match=reason):
        components.explain("ladder/01_leaf_flower", overrides=[said], **LEAF)


def test_its_model_is_that_of_load_recipe():
    made = components.explain("ladder/01_leaf_flower", **LEAF).trace
    again = components.explain(components.load_recipe("ladder/01_leaf_flower"), **LEAF).trace
    assert made["answers"] == again["answers"]
