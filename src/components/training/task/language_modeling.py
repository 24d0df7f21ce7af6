"""Language modelling: predict tokens of packed text; one Lightning module for every model, loss, optimizer and schedule."""

from __future__ import annotations

from components.core.registry import register
from components.core.signature import NonNegative, Positive
from components.training.task._documents import Documents


@register("task", "language_modeling")
class LanguageModeling(Documents):
    """Predict tokens of packed documents: each next one, or what the loss hides.

    Args:
        samples: texts written after each validation, where the model can continue one.
        sample_tokens: at most so many new tokens in each.
        prompts: what samples begin with, in turn; without any they begin as documents do.
        judged_samples: texts at the end that the data's ``judge`` looks at, if it has one.
    """

    needs = {"data": ("text",), "loss": ("tokens",)}

    samples: NonNegative = 2
    sample_tokens: Positive = 120
    prompts: list[str] = []
    judged_samples: NonNegative = 24
