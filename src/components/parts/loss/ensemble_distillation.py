"""The student learns what several teachers say on average about the next token, besides the token itself.

Hinton et al. 2015, arXiv:1503.02531, section 1: the arithmetic or the geometric mean of the teachers' distributions
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Path
from components.parts.loss._taught import Taught, Teacher


@register("loss", "ensemble_distillation")
class EnsembleDistillation(Taught):
    """Ensemble distillation: as distillation, from the mean of several teachers.

    Its terms are those of ``distillation``. Each teacher reads every batch of training, so a step costs a forward pass of each.

    Args:
        vocab_size: number of logits.
        teachers: the runs, or the checkpoints, whose models teach; their tokenizers are the student's.
        weights: the share of each teacher, up to a common factor; null: equal ones.
        mean: of probabilities: the arithmetic mean, which keeps what any teacher holds likely; of logits: the geometric mean, which keeps
            what all hold likely.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        teachers: list[Path],
        weights: list[float] | None = None,
        mean: Literal["probabilities", "logits"] = "probabilities",
    ) -> None:
        super().__init__(vocab_size)
        if not teachers:
            raise ValueError("teachers is empty: name at least one run")
        given = [1.0] * len(teachers) if weights is None else weights
        if len(given) != len(teachers) or min(given) <= 0:
            raise ValueError(f"weights={list(given)} must be {len(teachers)} positive numbers, one for each teacher")
        self.runs = tuple(teachers)
        self.shares = [weight / sum(given) for weight in given]
        self.mean = mean
        self.attached: nn.ModuleList | None = None

    def attach(self, models: nn.ModuleList) -> None:
        """``models`` teach from now on, in the order of ``runs``."""
        if len(models) != len(self.shares):
            raise ValueError(f"{len(models)} models for {len(self.shares)} teachers")
        self.attached = models

    def teachers(self) -> Sequence[Teacher]:
        if self.attached is None:
            raise ValueError("ensemble_distillation has no teachers yet: attach(nn.ModuleList) gives them")
        return list(self.attached)

    def together(self, taught: Sequence[Tensor]) -> Tensor:
        each = torch.stack(list(taught))
        shares = torch.tensor(self.shares, dtype=each.dtype, device=each.device)[:, None, None]
        if self.mean == "logits":
            return (shares * each).sum(0).log_softmax(-1)
        return (each + shares.log()).logsumexp(0)
