"""Parse rate: what share of the texts that a model writes does the data's own rule accept?

For Python that is ``ast.parse``; the share of samples that compile is reported by Chen et al. 2021 (Codex), arXiv:2107.03374, among others
"""

from __future__ import annotations

from collections.abc import Mapping

from components.core.registry import register
from components.core.signature import Positive
from components.corpus.evaluation_api import Better, EvalData, EvaluatedModel, Figure, mean_with_error


@register("evaluation", "parse_rate")
class ParseRate:
    """The share of whole texts, written from the beginning of a document, that the judge of the data accepts: for Python, ast.parse.

    A text that is not over after ``max_new_tokens`` is judged as it stands.

    Args:
        count: texts.
        max_new_tokens: of each, at most.
        prompt: what each begins with, and is judged with; empty: they begin as documents do.
        seed: of what is drawn.
    """

    asks = ("writing", "judge")
    gives: Mapping[str, Better] = {"accepted": "higher", "different": "higher"}

    def __init__(self, *, count: Positive = 50, max_new_tokens: Positive = 240, prompt: str = "", seed: int = 0) -> None:
        self.count, self.max_new_tokens, self.prompt, self.seed = count, max_new_tokens, prompt, seed

    def measure(self, model: EvaluatedModel, held: EvalData) -> dict[str, Figure]:
        assert held.judge is not None  # as asked
        texts = model.write([self.prompt], samples=self.count, max_new_tokens=self.max_new_tokens, seed=self.seed)
        return {
            "accepted": mean_with_error([bool(held.judge(self.prompt + text)) for text in texts]),
            "different": Figure(len(set(texts)) / len(texts), count=len(texts)),
        }
