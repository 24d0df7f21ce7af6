"""Which combinations a design compares: each choice alone, all, or every two choices at least once."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

import pytest

from components.cli.verbs import verbs
from components.core.errors import UserError
from components.studies.asked import WORDS
from components.studies.design import combinations_of, sorted_words
from components.studies.typed import Typed, typed

AXES = (("a=1", "a=2", "a=3"), ("b=1", "b=2", "b=3"), ("c=1", "c=2"), ("d=1", "d=2"))


def test_one_takes_each_choice_alone_and_grid_all():
    assert combinations_of("one", AXES) == [(w,) for axis in AXES for w in axis]
    assert combinations_of("grid", AXES) == list(product(*AXES))


def test_cover_has_every_two_choices_in_few_rows():
    rows = combinations_of("cover", AXES)
    for one, other in combinations(range(len(AXES)), 2):
        assert {(r[one], r[other]) for r in rows} == {*product(AXES[one], AXES[other])}
    assert len(rows) < 16 < len(combinations_of("grid", AXES)), "9 at least, 36 of the grid"
    assert rows == combinations_of("cover", AXES), "the same each time"


def test_words_with_several_values_are_compared_and_all_others_hold_for_every_run():
    words = sorted_words(
        ["recipe=gpt_python", "model.attention={name: gqa, n_kv_heads: 1},mla", "seed=range(3,4)"][:2], Path.cwd()
    )
    assert words.fixed == ("recipe=gpt_python",)
    assert words.axes == (("model.attention={name:gqa,n_kv_heads:1}", "model.attention=mla"),)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["seed=1,2"], "seed: is the same for all that is compared; give seeds=N"),
        (["recipe=a,b"], "recipe: is the same for all"),
        (["hydra/launcher=joblib", "model/norm=rms,layer"], "give launcher=joblib"),
        (["model.norm"], "is no override"),
    ],
)
def test_what_no_study_can_vary(words, says):
    with pytest.raises(UserError, match=says):
        sorted_words(words, Path.cwd())


def test_nothing_to_compare():
    with pytest.raises(UserError, match="nothing is compared; write several values"):
        combinations_of("one", ())
    with pytest.raises(UserError, match="unknown design 'all'; one of one, grid, cover"):
        combinations_of("all", AXES)


def test_a_word_of_the_command_is_there_once():
    said = typed(["seeds=3", "model/norm=rms,layer", "dry", "~callbacks.x"], WORDS)
    assert said == Typed({"seeds": 3}, ["model/norm=rms,layer", "~callbacks.x"], None, dry=True)
    assert typed(["runs/study", "match=flops"], WORDS) == Typed({"match": "flops"}, [], "runs/study", dry=False)
    with pytest.raises(UserError, match="seeds: is given twice"):
        typed(["seeds=3", "seeds=4"], WORDS)
    with pytest.raises(UserError, match=r"^two: is a second study"):
        typed(["one", "two"], WORDS)
    with pytest.raises(UserError, match=r"^jobs: 'x' is no whole number above 0"):
        typed(["jobs=x"], WORDS)


def test_completion_offers_the_words_of_the_command():
    assert verbs()["ablate"].words == WORDS
