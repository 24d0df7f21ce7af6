"""Is the answer the right one? A reward that can be checked, as for mathematics with a known result.

Shao et al. 2024 (DeepSeekMath), arXiv:2402.03300, section 4; Lambert et al. 2024 (Tulu 3), arXiv:2411.15124, section 6
"""

from __future__ import annotations

from components.core.registry import register
from components.parts.reward._weighed import Weighed
from components.parts.reward.regex import compiled


@register("reward", "exact_match")
class ExactMatch(Weighed):
    """Exact match: 1 for an answer that is the data's answer, spaces around both left out, else 0.

    Args:
        extract: a regular expression that finds what is compared in either text: its first group, or all of it where it has none. The last place
            counts; an answer without one is wrong. null compares whole texts.
    """

    extract: str | None = None

    def __init__(self) -> None:
        self.pattern = None if self.extract is None else compiled(self.extract, "extract")

    def __call__(self, answer: str, prompt: str, reference: str) -> float:
        del prompt
        said, meant = self.found_in(answer), self.found_in(reference)
        return float(said is not None and said == meant)

    def found_in(self, text: str) -> str | None:
        """What is compared of a text; None where the pattern is not in it."""
        if self.pattern is None:
            return text.strip()
        *_, last = None, *self.pattern.finditer(text)
        found = None if last is None else last[min(1, self.pattern.groups)]
        return None if found is None else found.strip()
