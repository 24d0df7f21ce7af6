"""Matching: functions cut around their docstrings, and a score in which a short or common docstring has no advantage."""

from __future__ import annotations

import pytest
from tables import Draws, Table, held

from components import build
from components.core.errors import UserError
from components.parts.evaluation.matching import functions

WORDS = ("apples", "bricks", "cables", "drums", "engines", "flags", "gates", "hats", "islands", "jars", "kites", "lamps")
TEXTS = [
    f'def f{i}(x):\n    """{"Very long. " * (i % 4)}Count {w}{i}."""\n    return {w}{i}(x)\n'
    for i in range(60)
    for w in WORDS[:2]
]


def test_functions_are_cut_around_their_docstrings():
    text = '@once\ndef f(\n    x,\n):\n    r"""One.\n\n    Two.\n    """\n    return x\n\n\nrest = 1\n'
    (found,) = functions(7, text)
    assert found == (7, "def f(\n    x,\n):\n", '    r"""One.\n\n    Two.\n    """\n', "    return x\n")
    for none in ("def f():\n    return 1\n", 'def f():\n    """Only."""\n', "no python", 'def f(): "one line"; return 1\n'):
        assert list(functions(0, none)) == []


def test_one_that_knows_which_body_belongs_gets_all_one_that_draws_chance():
    class Knows(Table):
        """The body is likely after its own docstring; a docstring is likelier the shorter it is."""

        def log_probability(self, words):
            nouns = [word for word in words if word[:-1].rstrip("0123456789") in WORDS]
            return -len(words) - 10.0 * (len(nouns) == 2 and nouns[0] != nouns[1])

    found = build("evaluation", "matching", count=60).measure(Knows([]), held(TEXTS))["accuracy"]
    assert (found.value, found.count, found.chance) == (1.0, 60, 0.125)
    for seed in range(3):
        drawn = build("evaluation", "matching", count=120).measure(Draws(seed), held(TEXTS))["accuracy"]
        assert drawn.value == pytest.approx(0.125, abs=3.5 * drawn.error)


def test_a_short_docstring_has_no_advantage():
    class Short(Table):
        def log_probability(self, words):
            return -float(len(words))

    found = build("evaluation", "matching", count=120).measure(Short([]), held(TEXTS))["accuracy"]
    assert found.value == pytest.approx(0.125), "all fit alike"


def test_what_cannot_be_asked_is_said():
    with pytest.raises(UserError, match="0 docstrings of Python functions"):
        build("evaluation", "matching").measure(Draws(), held(["text"]))
    with pytest.raises(UserError, match="nothing to choose"):
        build("evaluation", "matching", choices=1)
