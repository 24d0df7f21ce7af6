"""The attention mask: causality, prefix, documents, padding and a mask's rule. Parts declare it; a tensor is made only if a
kernel needs one."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from components.core.sockets import SequenceInfo


class MaskRule(Protocol):
    """The contract of a part of kind ``mask``. ``key`` names the rule: equal keys mean equal rules; ``reach``: no key that far back, or farther, is seen."""

    key: tuple[object, ...]
    reach: int | None

    def covers(self, length: int) -> bool:
        """Whether the rule hides nothing among the first ``length`` positions, so that it needs no mask."""
        ...

    def cells(self, length: int, causal: bool) -> int:
        """How many (query, key) pairs of the first ``length`` positions are visible, with causality."""
        ...

    def allow(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """Positions (B, Tq, 1) and (B, 1, Tk) -> True where seen, or None: everything."""
        ...


class _Everything:
    """The rule that hides nothing; it has the key of the part ``mask/full``, so that both share what is computed of them."""

    key: tuple[object, ...] = ("full",)
    reach: int | None = None

    def covers(self, length: int) -> bool:  # noqa: ARG002  the contract's arguments, here and below
        return True

    def cells(self, length: int, causal: bool) -> int:
        return length * (length + 1) // 2 if causal else length * length

    def allow(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:  # noqa: ARG002
        return None


EVERYTHING = _Everything()  # for parts that ask who may see whom without a mask of their own


@dataclass(frozen=True)
class MaskSpec:
    """What queries may see of keys. ``q`` and ``k`` are one object when no cache and no memory stand between them.

    Then "later" means further right, so that positions which restart without ``documents`` show nothing of the future; between
    different sequences it means a greater position. Rules and prefix always go by position.
    """

    q: SequenceInfo
    k: SequenceInfo
    causal: bool
    rule: MaskRule

    @property
    def is_self_attention(self) -> bool:
        return self.q is self.k

    def sees_all(self, tq: int, tk: int) -> bool:
        """Whether every query sees every key, as far as can be told without reading tensors."""
        if self.k.valid is not None or self.k.documents is not None:
            return False
        if not self._covers(tk):
            return False
        return not self.causal or (tq == 1 and (not self.is_self_attention or tk == 1))

    def only_causal(self, tq: int, tk: int) -> bool:
        """Whether it is exactly the lower triangle, so that a kernel's own flag is enough."""
        plain = (
            self.causal
            and self.is_self_attention
            and self.k.valid is None
            and self.k.documents is None
            and self.q.prefix is None
        )
        return plain and tq == tk and self._covers(tk)

    def _covers(self, length: int) -> bool:
        """Whether the rule hides nothing; in a program for all lengths, at none of them."""
        return self.rule.covers(length if type(length) is int else sys.maxsize)

    def dense(self, device: torch.device) -> Tensor:
        """(B or 1, 1, Tq, Tk), True where seen. A query that sees nothing sees everything: its output is never used, but must be finite."""
        if self.is_self_attention:
            return self.q.once(("seen", self.rule.key, self.causal), lambda: self._dense(device))
        if torch.compiler.is_compiling():
            return self._dense(device)
        # the infos of a cache or a memory are told apart by identity; the memo keeps this one alive, so that its id stays its own
        return self.q.once(("seen", self.rule.key, self.causal, id(self.k)), lambda: (self._dense(device), self.k))[0]

    def _dense(self, device: torch.device) -> Tensor:
        q_positions, k_positions = self.q.positions[:, :, None], self.k.positions[:, None, :]  # type: ignore[index]
        seen = torch.ones(1, q_positions.shape[1], k_positions.shape[2], dtype=torch.bool, device=device)
        if self.causal and self.is_self_attention:
            seen = seen.tril()
        elif self.causal:
            seen = k_positions <= q_positions
        rule = self.rule.allow(q_positions, k_positions)
        if rule is not None:
            seen = seen & rule
        if self.causal and self.q.prefix is not None:
            seen = seen | (k_positions < self.q.prefix[:, None, None])
        if self.q.documents is not None and self.k.documents is not None:
            seen = seen & (self.q.documents[:, :, None] == self.k.documents[:, None, :])
        if self.k.valid is not None:
            seen = seen & self.k.valid[:, None, :]
        return (seen | ~seen.any(-1, keepdim=True))[:, None]

    def additive(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """``dense`` as 0 and -inf, (B or 1, 1, Tq, Tk), to be added to scores."""

        def compute() -> Tensor:
            seen = self.dense(device)
            return torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, float("-inf"))

        if self.is_self_attention:
            return self.q.once(("additive", self.rule.key, self.causal, dtype), compute)
        return compute()


Sight = MaskSpec  # what plug-ins of the releases before import
