"""The data's own rule says whether an answer is good: does a function parse, does a proof check?

Le et al. 2022 (CodeRL), arXiv:2207.01780: whether a program runs is its reward
"""

from __future__ import annotations

from collections.abc import Callable

from components.core.registry import register
from components.parts.reward._weighed import Weighed


@register("reward", "judge")
class Judge(Weighed):
    """Judge: 1 for an answer that the data's own ``judge`` accepts, else 0. Data without one are refused."""

    def __init__(self, judge: Callable[[str], bool] | None) -> None:
        if judge is None:
            raise ValueError("the data have no rule that judges a text (a method `judge`): take another reward, or other data")
        self.judge = judge

    def __call__(self, answer: str, prompt: str, reference: str) -> float:
        del prompt, reference
        return float(bool(self.judge(answer)))
