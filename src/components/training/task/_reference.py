"""The model that a policy is compared with: its own frozen start, which says the same of the same rows for as long as a run lasts."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace

import torch
from torch import Tensor, nn

from components.core.sockets import Batch, Terms
from components.parts.adapter._adapted import learns_alone, switched_off
from components.parts.decoding._loop import evaluating
from components.parts.loss._pairs import answers_of
from components.parts.loss._tokens import Head


class Reference:
    """The start of ``policy``: what is given as such, else the policy without its adapter where nothing but the adapter learns, else a copy of it.

    Args:
        policy: as it is before the first step, if no ``start`` is given.
        vocab_size: number of its logits.
        keep: hold what was said of each pair, two numbers, and do not ask again. A device is waited for, to know which pairs a batch has.
        start: the policy as it was, in eval mode.
    """

    def __init__(self, policy: nn.Module, vocab_size: int, *, keep: bool, start: nn.Module | None = None) -> None:
        self.policy, self.vocab_size, self.keep = policy, vocab_size, keep
        if start is None and not learns_alone(policy):
            start = copy.deepcopy(policy).requires_grad_(False).eval()
        self.copy = start
        self.kept: dict[bytes, Tensor] = {}

    def beside(self, batch: Batch) -> Batch:
        """``batch`` with its log-probabilities, unless it has some."""
        if batch.reference is not None:
            return batch
        if not self.keep:
            return replace(batch, reference=self.says(batch))
        names = pairs_of(batch)
        if any(name not in self.kept for name in names):
            self.kept.update(zip(names, self.says(batch).cpu()))
        return replace(batch, reference=torch.stack([self.kept[name] for name in names]).to(batch.ids.device))

    def says(self, batch: Batch) -> Tensor:
        """(B, 2) the log-probability of each answer, without dropout."""
        if self.copy is not None:
            return log_probs(self.copy, batch, self.vocab_size)
        with switched_off(self.policy):
            return log_probs(self.policy, batch, self.vocab_size)

    def ratios(self, batch: Batch) -> Tensor:
        """(B, 2) log(policy / reference) of each answer, the policy as it is now, without dropout and without a gradient. Nothing is kept."""
        return log_probs(self.policy, batch, self.vocab_size) - self.says(batch)


@torch.no_grad()
def log_probs(model: nn.Module, batch: Batch, vocab_size: int) -> Tensor:
    """(B, 2) what a model says of each answer while it evaluates."""
    found: list[Tensor] = []

    def keep(hidden: Tensor, head: Head, batch: Batch) -> Terms:
        found.append(answers_of(hidden, head, batch, vocab_size=vocab_size).log_probs)
        return Terms()

    with evaluating(model):
        model(batch, keep)
    return found[0]


def pairs_of(batch: Batch) -> list[bytes]:
    """A name for what each row asks, the same however it is padded."""
    assert batch.documents is not None
    assert batch.targets is not None
    rows = torch.stack((batch.ids, batch.targets, batch.documents), 1).cpu().numpy()
    return [hashlib.blake2b(row[:, row[2] >= 0].tobytes(), digest_size=16).digest() for row in rows]
