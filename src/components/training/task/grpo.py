"""Group relative policy optimization: a model writes several answers to each prompt, and learns from which of them were better.

Shao et al. 2024 (DeepSeekMath), arXiv:2402.03300, algorithm 1
"""

from __future__ import annotations

from typing import Any, ClassVar

from torchmetrics import MeanMetric

from components.core.makers import Makers
from components.core.registry import register
from components.core.signature import NonNegative, Positive, Several
from components.corpus.rows import Rows, RowsOfOne
from components.training.task._compared import Compared
from components.training.task._conversing import Replying
from components.training.task._drawing import Drawing
from components.training.task._reference import Reference, TokenReference
from components.training.task._terms import MeasuresTerms


@register("task", "grpo")
class GRPO(Drawing, Compared, MeasuresTerms, Replying):
    """GRPO: learn from rewards. In each step the model draws ``group_size`` answers to each prompt, from its own distribution and by its own cache.

    Of a conversation the prompt is everything before its last answer, and that answer is the reference which rewards may read. Besides the loss,
    ``reward``, ``length`` (tokens of an answer) and, where the loss has a reference, ``kl`` are measured, in training and in validation; in
    training ``clipped`` too, and with ``redraws`` the shares of groups that were drawn again (``redrawn``) and left out (``alike``). The reference is
    the model as it was at the start: without its adapter if nothing but the adapter learns, else a second copy in memory.

    Args:
        batch_size: prompts per optimizer step, over all devices and micro-batches, each with ``group_size`` answers; conversations that are longer than
            the model reads are left out.
        group_size: answers to each prompt, which are compared with one another.
        rewards: what an answer is worth: the sum of these, each times its weight.
        steps_per_generation: optimizer steps between two copies of the policy that draws. 1: the model as it is draws, and nothing is ever clipped;
            more: another copy of the trained weights is in memory, and in checkpoints.
        redraws: where a prompt's answers are all worth the same, which teaches nothing, another prompt takes its place, at most so many times; groups
            that are alike even then are left out of the step's mean (Yu et al. 2025, DAPO, arXiv:2503.14476, section 3.2). 0: neither.
        scored: held-out conversations whose last answer is written in each validation, for exact match, BLEU and chrF.
        samples: answers that are shown and kept after each validation.
        sample_tokens: at most so many tokens in each answer, drawn or shown.
    """

    needs = {"data": ("conversations",), "loss": ("groups",)}
    refuses = {"model": ("causal",)}

    group_size: Several = 8
    rewards: Makers["reward"] = ({"name": "exact_match"},)
    steps_per_generation: Positive = 1
    redraws: NonNegative = 0
    scored = 0

    best_by: ClassVar[tuple[str, str]] = ("val_reward", "max")
    rows_kind: ClassVar[type[Rows]] = RowsOfOne
    reference_kind: ClassVar[type[Reference]] = TokenReference

    def measures(self) -> dict[str, Any]:
        names = ("reward", "length", "kl") if self.loss.compares else ("reward", "length")
        answers = {name: meter for name, meter in super().measures().items() if name != "token_accuracy"}
        return {**{name: MeanMetric() for name in names}, **answers}
