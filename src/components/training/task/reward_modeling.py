"""Reward modelling: a score for each answer, learned from which of two was preferred.

Ouyang et al. 2022 (InstructGPT), arXiv:2203.02155
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from components.core.registry import register
from components.core.sockets import Batch, Terms
from components.corpus.rows import Row
from components.functional.cross_entropy import IGNORED
from components.parts.loss.reward import scores_of
from components.training.task._pairs import OverPairs
from components.training.task._taking import inside


@register("task", "reward_modeling")
class RewardModeling(OverPairs):
    """Learn a score for each answer, which the head gives at its last token. A step's loss is one mean over its pairs.

    Besides the loss, ``margin`` (how much higher the score of the chosen answer is) and ``preferred`` (in which share of pairs it is higher) are
    measured, in training and in validation.
    """

    needs = {"data": ("preferences",), "loss": ("rewards",), "head": ("scores",)}

    def side(self, ids: list[int], asked: list[bool]) -> Row:
        """The whole answer is read, its end too. What stands there as target is not asked for: it says where the score is read."""
        del asked
        return Row(ids, [IGNORED] * (len(ids) - 1) + ids[-1:])

    def predict_step(self, item: Any, batch_idx: int = 0) -> Tensor:
        """(B, 2) the score of the chosen answers and of the rejected ones; of rows that are no pairs (B, T, 1), one at each position."""
        del batch_idx
        batch = inside(item)
        if isinstance(batch, Tensor) or batch.documents is None:
            return self.placed(batch)
        found: list[Tensor] = []

        def keep(hidden: Tensor, head: Any, batch: Batch) -> Terms:
            found.append(scores_of(hidden, head, batch))
            return Terms()

        self.placed(batch, keep)
        return found[0]
