"""Instruction tuning: conversations in which a model learns to give the answers, and nothing else of them.

Ouyang et al. 2022 (InstructGPT), arXiv:2203.02155, section 3.1; loss on answers alone as in Touvron et al. 2023 (Llama 2), arXiv:2307.09288
"""

from __future__ import annotations

from typing import Any

from components.core.registry import register
from components.corpus.packing import PackedRows
from components.training.task._conversing import Replying


@register("task", "instruction_tuning")
class InstructionTuning(Replying):
    """Learn the answers of conversations: the loss is on what the assistant says, up to the sign that ends it, and on nothing else.

    Args:
        packing: put several conversations into a row, apart from one another: less padding, the same loss. A step then has
            ``batch_size`` such rows.
        batch_size: conversations per optimizer step, over all devices and micro-batches; longer ones than the model reads are left out.
        scored: held-out conversations whose last answer is written in each validation, for exact match, BLEU and chrF.
        samples: answers that are shown and kept after each validation.
        sample_tokens: at most so many tokens in each answer.
    """

    needs = {"data": ("conversations",), "loss": ("tokens",)}
    refuses = {"model": ("causal",)}

    packing: bool = False
    scored = 0

    def blocks(self, corpus: Any, split: str, context: int, seed: int | None = None) -> Any:
        rows = super().blocks(corpus, split, context, seed)
        return (
            PackedRows(rows, seed) if self.packing and seed is not None else rows
        )  # what is measured on stays one example a row
