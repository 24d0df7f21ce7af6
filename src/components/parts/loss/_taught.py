"""What losses that learn from teachers have in common: the next token's cross entropy, and a divergence from what the teachers say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from components.core.options import Options
from components.core.signature import Positive, PositiveFloat, Probability
from components.core.sockets import Batch, Terms
from components.functional.cross_entropy import IGNORED, cross_entropy
from components.parts.loss._tokens import Chunk, Head, in_chunks, need_targets, rows_at_once, summed_cross_entropy

Teacher = Callable[..., Any]  # called as a model is, with a batch and an objective


class Taught(Options):
    """A loss that learns from one or more teachers.

    Args:
        temperature: what all logits are divided by.
        mix: share of the divergence in the total.
        divergence: forward: KL(teacher || student), which covers all that is taught; reverse: KL(student || teacher), which
            keeps to what is taught most.
        chunk: rows whose logits are held at once, as ``next_token`` has it.
    """

    refuses = {"model": ("causal",), "attention": ("causal",), "head": ("causal",)}
    provides = ("tokens",)
    likelihood = True

    temperature: PositiveFloat = 1.0
    mix: Probability = 0.5
    divergence: Literal["forward", "reverse"] = "forward"
    chunk: Positive | Literal["auto", "all"] = "auto"

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def teachers(self) -> Sequence[Teacher]:
        """Those who teach. ValueError as long as there is none."""
        raise NotImplementedError(f"{type(self).__name__} says in teachers() who teaches")

    def together(self, taught: Sequence[Tensor]) -> Tensor:
        """Log-probabilities (N, V) of what is taught, from those of each teacher at the temperature, and logits of none."""
        raise NotImplementedError(f"{type(self).__name__} says in together() what several teach")

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        targets = need_targets(batch, "distillation").reshape(-1)
        if not torch.is_grad_enabled():
            chunk: Chunk = self.chunk
            loss, _, weight = summed_cross_entropy(hidden, head, batch, vocab_size=self.vocab_size, chunk=chunk)
            return Terms({"loss": (loss, weight)})
        shown, heads = zip(*(_asked(teacher, batch) for teacher in self.teachers()))
        weights = torch.ones_like(targets, dtype=torch.float32) if batch.weights is None else batch.weights.reshape(-1).float()
        weights = weights * (targets != IGNORED)

        def terms(hidden: Tensor, targets: Tensor, weights: Tensor, *shown: Tensor) -> tuple[Tensor, Tensor]:
            logits = head(hidden).reshape(targets.numel(), -1)
            with torch.no_grad():
                taught = [head(x).reshape(targets.numel(), -1) for head, x in zip(heads, shown)]
            for theirs in taught:
                if theirs.shape != logits.shape:
                    raise ValueError(
                        f"the teacher has {theirs.shape[-1]} logits, the student {logits.shape[-1]}: they must be the same tokens"
                    )
            loss, _ = cross_entropy(logits, targets, weights)
            return loss, (self._between(taught, logits) * weights).sum()

        rows = rows_at_once(self.chunk, targets.numel(), self.vocab_size, hidden)
        loss, apart = in_chunks(terms, rows, hidden, targets, weights, *shown)
        weight = weights.sum()
        return Terms(
            {"loss": (loss, weight), "distillation": (apart, weight)}, aim={"loss": 1 - self.mix, "distillation": self.mix}
        )

    def _between(self, taught: Sequence[Tensor], logits: Tensor) -> Tensor:
        """(N,) the divergence of each row, in nats, times the temperature's square: the gradient keeps its size."""
        precise = logits.dtype if logits.dtype == torch.float64 else torch.float32
        *each, q = ((x.to(precise) / self.temperature).log_softmax(-1) for x in (*taught, logits))
        p = self.together(each)
        first, second = (p, q) if self.divergence == "forward" else (q, p)
        return (first.exp() * (first - second)).sum(-1) * self.temperature**2


def _asked(teacher: Teacher, batch: Batch) -> tuple[Tensor, Head]:
    """(the teacher's vectors, its head)."""
    kept: list[Any] = []

    def keep(hidden: Tensor, head: Head, batch: Batch) -> Terms:  # noqa: ARG001  the contract's third argument
        kept.extend((hidden, head))
        return Terms()

    with torch.no_grad():
        teacher(batch, keep)
    return kept[0], kept[1]
