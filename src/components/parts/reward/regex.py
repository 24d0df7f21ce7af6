"""Has the answer the form that was asked for?

DeepSeek-AI 2025 (DeepSeek-R1), arXiv:2501.12948, section 2.2.2: format rewards
"""

from __future__ import annotations

import re

from components.core.registry import register
from components.parts.reward._weighed import Weighed


@register("reward", "regex")
class Regex(Weighed):
    """Regex: 1 for an answer in which the pattern is found, else 0.

    Args:
        pattern: a regular expression of Python's ``re``; ``^`` and ``$`` hold it to the whole answer, and ``.`` takes line breaks as well.
    """

    pattern: str = r"\S"

    def __init__(self) -> None:
        self.found = compiled(self.pattern, "pattern").search

    def __call__(self, answer: str, prompt: str, reference: str) -> float:
        del prompt, reference
        return float(self.found(answer) is not None)


def compiled(pattern: str, option: str) -> re.Pattern[str]:
    """The pattern, whose ``.`` takes line breaks. ValueError if it is none."""
    try:
        return re.compile(pattern, re.DOTALL)
    except (re.error, RecursionError, OverflowError) as e:
        raise ValueError(f"{option}={pattern!r} is no regular expression: {e}") from None
