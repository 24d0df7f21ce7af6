"""Rewards: what is compared, what is searched for, and the data's judge."""

from __future__ import annotations

import pytest

from components import build
from components.core.errors import UserError


@pytest.mark.parametrize(
    ("extract", "answer", "reference", "worth"),
    [
        (None, " four two\n", "four two", 1.0),
        (None, "four", "four two", 0.0),
        (None, "", "", 1.0),
        (r"#### (-?\d+)", "2 + 2\n#### 5\nno: #### 4", "so #### 4", 1.0),
        (r"#### (-?\d+)", "4", "so #### 4", 0.0),
        (r"\d+", "it is 4", "4 it is", 1.0),
        (r"a(b)?", "a", "a", 0.0),
    ],
)
def test_exact_match_compares_what_it_finds(extract, answer, reference, worth):
    assert build("reward", "exact_match", extract=extract)(answer, "a question", reference) == worth


def test_a_pattern_is_found_anywhere_and_over_lines():
    reward = build("reward", "regex", pattern="<think>.*</think>")
    assert [reward(a, "", "") for a in ("so <think>1\n2</think> 3", "<think>", "")] == [1.0, 0.0, 0.0]
    assert build("reward", "regex", pattern=r"^\d+$")("12 ", "", "") == 0.0
    with pytest.raises(UserError, match="no regular expression"):
        build("reward", "regex", pattern="(")


def test_the_judge_is_the_datas():
    data = build("data", "python_instructions")
    reward = build("reward", "judge", judge=data.judge, weight=0.5)
    assert [reward(a, "", "") for a in ("def f():\n    return 1\n", "def f(", "x = 1")] == [1.0, 0.0, 0.0]
    assert reward.weight == 0.5
    with pytest.raises(UserError, match="no rule that judges"):
        build("reward", "judge", judge=None)
