"""The student learns a teacher's distribution over the next token, besides the token itself.

Hinton et al. 2015, arXiv:1503.02531; reverse: Gu et al. 2023 (MiniLLM), arXiv:2306.08543
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import Path, Positive, PositiveFloat, Probability
from components.core.sockets import Batch, Terms
from components.functional.cross_entropy import IGNORED, cross_entropy
from components.parts.loss._tokens import Chunk, Head, in_chunks, need_targets, rows_at_once, summed_cross_entropy


@register("loss", "distillation")
class Distillation:
    """Distillation: (1 - mix) times the next token's cross entropy, and mix times the divergence between teacher and student.

    The term ``loss`` is the cross entropy alone, so that figures compare with other runs'; ``distillation`` is the divergence of the
    distributions at ``temperature``, times its square. Without gradients, in validation, the teacher is not asked.

    Args:
        vocab_size: number of logits.
        teacher: the run, or the checkpoint, whose model teaches; its tokenizer is the student's.
        temperature: what both logits are divided by.
        mix: share of the divergence in the total.
        divergence: forward: KL(teacher || student), which covers all that the teacher says; reverse: KL(student || teacher), which
            keeps to what it says most.
        chunk: rows whose logits are held at once, as ``next_token`` has it.
    """

    refuses = {"model": ("causal",), "attention": ("causal",), "head": ("causal",)}
    provides = ("tokens",)
    likelihood = True

    def __init__(
        self,
        vocab_size: int,
        *,
        teacher: Path,
        temperature: PositiveFloat = 1.0,
        mix: Probability = 0.5,
        divergence: Literal["forward", "reverse"] = "forward",
        chunk: Positive | Literal["auto", "all"] = "auto",
    ) -> None:
        self.run = teacher
        self.teacher: Callable[..., Any] | None = None
        self.vocab_size, self.temperature, self.mix = vocab_size, temperature, mix
        self.divergence = divergence
        self.chunk: Chunk = chunk

    @property
    def attached(self) -> Callable[..., Any] | None:
        return self.teacher

    def attach(self, model: Callable[..., object]) -> None:
        """``model`` teaches from now on."""
        self.teacher = model

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        targets = need_targets(batch, "distillation").reshape(-1)
        if not torch.is_grad_enabled():
            loss, _, weight = summed_cross_entropy(hidden, head, batch, vocab_size=self.vocab_size, chunk=self.chunk)
            return Terms({"loss": (loss, weight)})
        if self.teacher is None:
            raise ValueError("distillation has no teacher yet: set loss.teacher to a model that is called as the student is")
        shown, teachers_head = self._asked(batch)
        weights = torch.ones_like(targets, dtype=torch.float32) if batch.weights is None else batch.weights.reshape(-1).float()
        weights = weights * (targets != IGNORED)

        def terms(hidden: Tensor, targets: Tensor, weights: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
            logits = head(hidden).reshape(targets.numel(), -1)
            with torch.no_grad():
                taught = teachers_head(shown).reshape(targets.numel(), -1)
            if taught.shape != logits.shape:
                raise ValueError(
                    f"the teacher has {taught.shape[-1]} logits, the student {logits.shape[-1]}: they must be the same tokens"
                )
            loss, _ = cross_entropy(logits, targets, weights)
            return loss, (self._between(taught, logits) * weights).sum()

        rows = rows_at_once(self.chunk, targets.numel(), self.vocab_size, hidden)
        loss, apart = in_chunks(terms, rows, hidden, targets, weights, shown)
        weight = weights.sum()
        return Terms(
            {"loss": (loss, weight), "distillation": (apart, weight)}, aim={"loss": 1 - self.mix, "distillation": self.mix}
        )

    def _asked(self, batch: Batch) -> tuple[Tensor, Head]:
        """(the teacher's vectors, its head)."""
        kept: list[Any] = []

        def keep(hidden: Tensor, head: Head, batch: Batch) -> Terms:  # noqa: ARG001  the contract's third argument
            kept.extend((hidden, head))
            return Terms()

        with torch.no_grad():
            self.teacher(batch, keep)  # type: ignore[misc]
        return kept[0], kept[1]

    def _between(self, taught: Tensor, logits: Tensor) -> Tensor:
        """(N,) the divergence of each row, in nats, times the temperature's square: the gradient keeps its size."""
        precise = logits.dtype if logits.dtype == torch.float64 else torch.float32
        p, q = ((x.to(precise) / self.temperature).log_softmax(-1) for x in (taught, logits))
        first, second = (p, q) if self.divergence == "forward" else (q, p)
        return (first.exp() * (first - second)).sum(-1) * self.temperature**2
