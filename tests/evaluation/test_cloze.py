"""Cloze: a table that knows gets all, one that draws gets chance, frequency alone gets what it must; nothing after the word is read."""

from __future__ import annotations

import random

import pytest
from tables import PLACES, STORIES, Alike, Draws, Table, held

from components import build
from components.core.errors import UserError
from components.corpus.evaluation_api import EvalData
from components.parts.evaluation._words import last_words


def cloze(model, material=None, **options):
    return build("evaluation", "cloze", **{"count": 400, "band": 5, **options}).measure(model, material or held())


def test_a_table_that_knows_gets_all_and_one_that_draws_gets_chance():
    knows = cloze(Table(STORIES))["accuracy"]
    assert (knows.value, knows.error, knows.count, knows.chance) == (1.0, 0.0, 400, 0.2)
    for seed in range(3):
        drawn = cloze(Draws(seed))["accuracy"]
        assert drawn.value == pytest.approx(0.2, abs=3.5 * drawn.error)
        assert 0.01 < drawn.error < 0.03


def test_where_all_are_equal_each_choice_has_its_part():
    assert cloze(Alike())["accuracy"].value == pytest.approx(0.2)
    assert cloze(Alike(), distractors=3)["accuracy"].chance == 0.25


def test_a_choice_differs_from_the_real_sentence_in_its_last_word_alone():
    asked = Table(STORIES)
    cloze(asked, count=50, seed=1)
    for at in range(0, len(asked.asked), 5):
        real, *others = asked.asked[at : at + 5]
        assert any(story.startswith(real) for story in STORIES)
        assert real.endswith(".")
        before = real[: real.rindex(" ") + 1]
        words = [text.removeprefix(before) for text in asked.asked[at : at + 5]]
        assert all(text.startswith(before) and " " not in word for text, word in zip(others, words[1:]))
        assert len(set(words)) == 5, "no choice stands twice"


def test_nothing_after_the_sentence_is_read():
    """A subject that knows the second sentence of each story gains nothing for the first."""
    texts = [f"Nobody knows where the {PLACES[i % 12]}. The answer was {PLACES[i % 12]} {i}" for i in range(120)]
    asked = Table(texts)
    cloze(asked, held(texts))
    assert asked.asked
    assert not [text for text in asked.asked if "answer" in text]


def test_choices_are_of_the_words_band():
    """Common last words against common ones: frequency alone then tells little."""
    order = random.Random(0)
    words = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("ale", "ode", "ink", "ump")]
    texts = [f"We speak of {words[min(int(order.expovariate(1 / 8)), 47)]}." for _ in range(3000)]
    counts = Draws().words(" ".join(texts))
    asked = Table(texts)
    found = cloze(asked, held(texts), band=8, count=500, min_words=2)
    for at in range(0, len(asked.asked), 5):
        often = [counts.count(text.split()[-1].rstrip(".")) for text in asked.asked[at : at + 5]]
        assert max(often) <= 12 * max(min(often), 1)
    assert 0.2 <= found["by_frequency"].value < 0.5
    wide = cloze(Table(texts), held(texts), band=48, count=500, min_words=2)
    assert wide["by_frequency"].value > found["by_frequency"].value


def test_the_same_seed_asks_the_same_another_something_else():
    asked = []
    for seed in (0, 0, 1):
        asked.append(Table(STORIES))
        cloze(asked[-1], seed=seed, count=50)
    assert asked[0].asked == asked[1].asked
    assert asked[0].asked != asked[2].asked


def test_capitals_are_those_of_the_real_word():
    texts = [f"They live in old {place.capitalize()}." for place in PLACES] * 3
    asked = Table(texts)
    cloze(asked, held(texts))
    assert all(text.split()[-1][0].isupper() for text in asked.asked)


@pytest.mark.parametrize(
    ("text", "unit", "found"),
    [
        ("A cat sat on it. Then the dog left!", "sentence", [("it", "."), ("left", "!")]),
        ("short one. And the longer sentence is here", "sentence", []),
        ('She said "go to the house."\nmore', "sentence", [("house", '."')]),
        ("x = f(a.b)\nreturn a thing that ends", "line", [("ends", "")]),
        ("one two three four\nfive six seven eight;", "line", [("four", ""), ("eight", ";")]),
        ("A word\n\nThen it was all over.", "sentence", [("over", ".")]),
        ("it is not a use.of that", "sentence", []),
    ],
)
def test_last_words(text, unit, found):
    got = list(last_words([text], unit, 3))
    assert [(last.word, last.after) for last in got] == found
    assert all(last.span.before + last.word + last.after == text[: last.span.end] for last in got)


def test_what_cannot_be_asked_is_said():
    with pytest.raises(UserError, match="0 last words of a sentence, too few"):
        cloze(Alike(), EvalData(texts=lambda: ["no sentence"]))
    with pytest.raises(UserError, match="band=4 words are too few"):
        build("evaluation", "cloze", band=4, distractors=4)

    class Narrow(Alike):
        def fit(self, before, texts):
            del before, texts

    with pytest.raises(UserError, match="no sentence of the split fits"):
        cloze(Narrow())
