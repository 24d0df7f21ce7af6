"""Parse rate: the data's own judge, on what is written after the prompt."""

from __future__ import annotations

from components import build
from components.corpus.evaluation_api import EvalData


class Writes:
    def write(self, prompts, *, samples, max_new_tokens, seed, stop=()):
        self.asked = (prompts, samples, max_new_tokens, seed, stop)
        return ["x = 1\n", "x = \n", "y(2)\n", "y(2)\n"]


def test_the_datas_judge_decides():
    writes, judge = Writes(), build("data", "python_functions").judge
    found = build("evaluation", "parse_rate", count=4, max_new_tokens=9, seed=2).measure(writes, EvalData(judge=judge))
    assert (found["accepted"].value, found["accepted"].count) == (0.75, 4)
    assert found["different"].value == 0.75
    assert writes.asked == ([""], 4, 9, 2, ())


def test_the_prompt_is_judged_with_the_text():
    found = build("evaluation", "parse_rate", prompt="def f():\n    ").measure(
        Writes(), EvalData(judge=lambda t: t.startswith("def f"))
    )
    assert found["accepted"].value == 1.0
