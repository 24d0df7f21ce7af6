"""The policy as it was some steps ago: what draws answers while the model already learns from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Earlier:
    """The trained weights of ``model`` as they were before the last step whose number is a multiple of ``every``.

    Args:
        model: what learns.
        every: optimizer steps between two copies.
    """

    def __init__(self, model: nn.Module, every: int) -> None:
        self.model, self.every = model, every
        self.block = -1
        self.weights: dict[str, Tensor] = {}

    def renew(self, step: int) -> None:
        """Before each micro-batch of ``step``: the copy is made anew where it is due."""
        if step // self.every != self.block:
            self.block = step // self.every
            self.weights = {n: p.detach().clone() for n, p in self._trained()}

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block the model has the earlier weights."""
        now = {n: p.detach().clone() for n, p in self._trained()}
        self._put(self.weights)
        try:
            yield
        finally:
            self._put(now)

    def state(self) -> dict[str, object]:
        return {"block": self.block, "weights": self.weights}

    def restore(self, state: dict[str, object]) -> None:
        block, weights = state["block"], state["weights"]
        assert isinstance(block, int)
        assert isinstance(weights, dict)
        device = next(self.model.parameters()).device
        self.block, self.weights = block, {n: w.to(device).clone() for n, w in weights.items()}

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor]) -> None:
        for n, p in self._trained():
            p.copy_(weights[n])
