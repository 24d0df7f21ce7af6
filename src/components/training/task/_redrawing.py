"""Groups whose answers are all worth the same teach nothing: other prompts take their place.

Yu et al. 2025 (DAPO), arXiv:2503.14476, section 3.2, dynamic sampling; the condition under equation 11
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from components.core.errors import UserError
from components.core.sockets import Batch, Terms
from components.corpus.batches import joined, tokens_in, widened
from components.corpus.steps import LoneMicroBatch, MicroBatch, RowSource
from components.training.epochs import overfitting

FAR = (
    2**32
)  # epochs between those that a run reads and those that its n-th draws read: their orders have nothing to do with each other


@dataclass
class Groups:
    """``prompts``: the ids of each; ``answers``: the ids of each answer to it; ``rewards`` (N, G)."""

    prompts: list[list[int]]
    answers: list[list[list[int]]]
    rewards: Tensor

    def alike(self) -> Tensor:
        """(N,) bool, where all answers are worth the same, so that no advantage differs from 0."""
        return self.rewards.amax(1) == self.rewards.amin(1)

    def put(self, places: Sequence[int], others: Groups) -> None:
        """``others`` in the place of those at ``places``."""
        for place, prompt, answers, rewards in zip(places, others.prompts, others.answers, others.rewards, strict=True):
            self.prompts[place], self.answers[place], self.rewards[place] = prompt, answers, rewards


class Redrawn(LoneMicroBatch):
    """Rows of groups, of which some weigh nothing: how many of a step do is known when all of it has been drawn.

    Args:
        batch: rows of prompt and answer.
        counted: (N,) the weight of each group, 0 where it is left out.
        weights: (N,) what it would be otherwise.
        again: (N,) bool, which groups are of another prompt than the loader's.
        asked: whether the loader's rows have a target.
        samples: (N * G,) the number of each row.
    """

    def __init__(
        self, batch: Batch, counted: Tensor, weights: Tensor, again: Tensor, asked: bool, samples: Tensor | None
    ) -> None:
        tokens = torch.as_tensor(tokens_in(batch), device=counted.device)
        super().__init__(batch, torch.stack((counted.sum(), tokens.to(counted.dtype))), asked, samples)
        self.shares = {"redrawn": (weights * again).sum(), "alike": (weights - counted).sum()}
        self.of = weights.sum()


class Redrawing:
    """Beside a task with ``redraws`` that draws answers. What takes a prompt's place depends on the seed, on the row's number and on which draw it is."""

    learned_on: RowSource  # the rows of the training split

    def blocks(self, corpus: object, split: str, context: int, seed: int | None = None) -> RowSource | None:
        rows: RowSource | None = super().blocks(corpus, split, context, seed)  # type: ignore[misc]  # a task's
        if seed is not None and rows is not None:
            self.learned_on = rows
        return rows

    def draw_again(self, groups: Groups, numbers: Sequence[int], drawn_for: str, redraws: int, device: torch.device) -> Tensor:
        """Put others in the place of groups that are alike, as often as ``redraws`` says. (N,) bool: where others were drawn."""
        task: Any = self
        if task._trainer is not None and overfitting(task._trainer):
            raise UserError(
                "task.redraws", "trainer.overfit_batches reads the same prompts again and again", "set one of them to 0"
            )
        again = torch.zeros(len(numbers), dtype=torch.bool)
        for draw in range(1, redraws + 1):
            places = groups.alike().nonzero()[:, 0].tolist()
            if not places:
                break
            again[places] = True
            own = [numbers[i] for i in places]
            groups.put(places, task.groups_for(self.others(own, draw).to(device), own, f"{drawn_for}, draw {draw + 1}"))
        return again

    def others(self, numbers: Sequence[int], draw: int) -> Batch:
        """The rows that take the place of those with ``numbers`` in their n-th draw anew."""
        parts = []
        for number in numbers:
            epoch, index = divmod(number, self.learned_on.n_blocks)
            parts.append(self.learned_on.batch(epoch + draw * FAR, [index]))
        return joined(widened(parts))

    def learned_from(self, item: MicroBatch) -> Terms:
        terms: Terms = super().learned_from(item)  # type: ignore[misc]  # a task's
        if isinstance(item, Redrawn):
            dtype = terms.losses["loss"][1].dtype
            for name, share in item.shares.items():
                terms.losses[name] = share.to(dtype), item.of.to(dtype)
                terms.aim[name] = 0.0
        return terms
