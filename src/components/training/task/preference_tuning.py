"""Preference tuning: of two answers to a prompt, one was preferred, and the model learns to prefer it too.

Rafailov et al. 2023, arXiv:2305.18290, and what followed; each loss names its paper.
"""

from __future__ import annotations

from typing import Any

from components.core.registry import register
from components.core.signature import NonNegative, Positive
from components.corpus.example import content_of
from components.corpus.rows import Row
from components.functional.cross_entropy import IGNORED
from components.training.task._compared import Compared
from components.training.task._conversing import conversation_of
from components.training.task._pairs import OverPairs


@register("task", "preference_tuning")
class PreferenceTuning(Compared, OverPairs):
    """Learn which of two answers is preferred. A step's loss is one mean over its pairs; the prompt is read, and never asked for.

    Besides the loss, ``margin`` (how much higher the reward of the chosen answer is), ``preferred`` (in which share of pairs it is higher) and,
    where the loss compares with a reference, ``kl`` are measured, in training and in validation; of ``kto`` its ``baseline`` too. The reference is
    the model as it was at the start: without its adapter if nothing but the adapter learns, else a second copy in memory.

    Args:
        keep_reference: ask the reference once for each pair and keep the two numbers, instead of at each step.
        samples: answers that are shown and kept after each validation.
        sample_tokens: at most so many tokens in each answer.
    """

    needs = {"data": ("preferences",), "loss": ("pairs",)}
    refuses = {"model": ("causal",)}

    keep_reference: bool = False
    samples: NonNegative = 2
    sample_tokens: Positive = 120

    def side(self, ids: list[int], asked: list[bool]) -> Row:
        """Nothing is asked of the prompt, and nothing after the last target is read."""
        return Row(ids[:-1], [i if a else IGNORED for i, a in zip(ids[1:], asked[1:])])

    def validation_step(self, item: Any, batch_idx: int) -> None:
        super().validation_step(self.compared(self.taken(item)), batch_idx)

    test_step = validation_step

    def write(self, asked: list[Any]) -> tuple[list[str], list[str]]:
        prompts = [conversation_of(e) for e in asked]
        questions = [content_of(prompt[-1]) for prompt in prompts]
        said = self.replies(prompts, asked)
        return questions, [f"{q} -> {text}" for q, text in zip(questions, said)]
