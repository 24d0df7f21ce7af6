"""Minimal pairs: the edits as they are written, a table that knows, one that draws, and one that finds all alike."""

from __future__ import annotations

import pytest
from tables import STORIES, Alike, Draws, Table, held

from components import build
from components.core.errors import UserError
from components.corpus.evaluation_api import EvalData
from components.parts.evaluation.minimal_pairs import EDITS


def pairs(model, material=None, **options):
    return build("evaluation", "minimal_pairs", **options).measure(model, material or held())


def edited(name, line):
    return [line[:a] + new + line[b:] for a, b, new in EDITS[name](line)]


def test_edits():
    assert edited("swapped_words", "one two two three") == ["two one two three", "one two three two"]
    assert edited("swapped_words", "if x_1 in y: pass") == ["if x_1 y in: pass"]
    assert edited("swapped_words", "don't do that") == ["do don't that", "don't that do"]
    assert edited("is_are", "It is so. Are they? this") == ["It are so. Are they? this", "It is so. Is they? this"]
    assert edited("was_were", "it was here") == ["it were here"]
    assert edited("brackets", "f(x[0])") == ["f(x[0))", "f(x[0]]"]


def test_a_table_that_knows_gets_all_one_that_draws_half():
    figures = pairs(Table(STORIES), count=100)
    assert set(figures) == {"accuracy", "swapped_words", "is_are", "was_were", "brackets", "by_length"}
    assert figures.pop("by_length").value == 0.5, "an edit changes no number of words"
    assert all(f.value == 1.0 and f.chance == 0.5 for f in figures.values())
    assert figures["accuracy"].count == 400
    for seed in range(3):
        f = pairs(Draws(seed), count=200)["accuracy"]
        assert f.value == pytest.approx(0.5, abs=3.5 * f.error)
        assert 0.01 < f.error < 0.03
    assert pairs(Alike())["accuracy"].value == 0.5


def test_both_lines_of_a_pair_stand_behind_the_same_text():
    texts = [f"first line {i}\nsecond line was here {i}\nthird line was never read" for i in range(30)]
    asked = Table(texts)
    pairs(asked, held(texts), edits=["was_were"], count=200)
    assert len(asked.asked) == 120
    for real, wrong in zip(asked.asked[::2], asked.asked[1::2]):
        assert any(text.startswith(real) for text in texts)
        *before, line = real.splitlines(keepends=True)
        assert wrong.startswith("".join(before))
        assert wrong.removeprefix("".join(before)) == line.replace("was", "were")
    assert sum("third" not in text for text in asked.asked) == 60, "what follows the line is not read"


def test_a_table_of_single_words_knows_nothing_of_their_order():
    class Single(Table):
        def log_probability(self, words):
            return sum(-len(word) for word in words)

    assert pairs(Single(STORIES), edits=["swapped_words"])["accuracy"].value == 0.5


def test_what_fewer_tokens_alone_would_get():
    class Letters(Alike):
        def count(self, texts):
            return [len(text) for text in texts]

    found = pairs(Letters(), edits=["is_are"])
    assert found["by_length"].value == pytest.approx(0.5, abs=0.15), "is has become are, or are has become is, as is drawn"
    assert pairs(Letters(), edits=["was_were"])["by_length"].value == 1.0
    assert found["by_length"].chance is None


def test_what_cannot_be_asked_is_said():
    with pytest.raises(UserError, match="no line for is_are"):
        pairs(Alike(), EvalData(texts=lambda: ["nothing"]), edits=["is_are"])
    with pytest.raises(UserError, match="no 'is_ar'; did you mean 'is_are'"):
        build("evaluation", "minimal_pairs", edits=["is_ar"])
    with pytest.raises(UserError, match="nothing to compare"):
        build("evaluation", "minimal_pairs", edits=[])
