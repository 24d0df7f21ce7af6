"""The model that a policy is compared with: its own frozen start, which says the same of the same rows for as long as a run lasts."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from components.core.sockets import Batch, Terms
from components.parts.adapter._adapted import learns_alone, switched_off
from components.parts.decoding._loop import evaluating
from components.parts.loss._answers import target_log_probs
from components.parts.loss._pairs import answers_of
from components.parts.loss._tokens import Head, need_targets

Read = Callable[[Tensor, Head, Batch], Tensor]


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
        """What the reference says, without dropout: see ``read``."""
        if self.copy is not None:
            return said_by(self.copy, batch, self.read)
        with switched_off(self.policy):
            return said_by(self.policy, batch, self.read)

    def ratios(self, batch: Batch) -> Tensor:
        """(B, 2) log(policy / reference) of each answer, the policy as it is now, without dropout and without a gradient. Nothing is kept."""
        return said_by(self.policy, batch, self.read) - self.says(batch)

    def read(self, hidden: Tensor, head: Head, batch: Batch) -> Tensor:
        """What is asked of a model: here (B, 2), the log-probability of each answer."""
        return answers_of(hidden, head, batch, vocab_size=self.vocab_size).log_probs


class TokenReference(Reference):
    """The same of rows that are one answer each, token by token."""

    def read(self, hidden: Tensor, head: Head, batch: Batch) -> Tensor:
        """(B, T) the log-probability of each target."""
        return tokens_read(self.vocab_size)(hidden, head, batch)


def tokens_read(vocab_size: int) -> Read:
    """A function that reads (B, T), the log-probability of each target."""

    def read(hidden: Tensor, head: Head, batch: Batch) -> Tensor:
        return target_log_probs(
            hidden, head, need_targets(batch, "a policy", "the tokens of the answers"), vocab_size=vocab_size
        )

    return read


@torch.no_grad()
def said_by(model: nn.Module, batch: Batch, read: Read) -> Tensor:
    """What ``read(hidden, head, batch)`` finds in a model while it evaluates."""
    found: list[Tensor] = []

    def keep(hidden: Tensor, head: Head, batch: Batch) -> Terms:
        found.append(read(hidden, head, batch))
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
