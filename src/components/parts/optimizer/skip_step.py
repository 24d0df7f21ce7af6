"""Skip-step: no step where the gradient's norm stands out from those of the last steps; else what another optimizer does.

OLMo et al. 2025, arXiv:2501.00656, section 3.3.1 (skipping outliers), and OLMo-core's ``SkipStepOptimizer``
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from components.core.makers import Maker, make
from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._nested import load, share
from components.parts.optimizer._state import State, called, grad_of, trained


@register("optimizer", "skip_step")
class SkipStep(torch.optim.Optimizer):
    """Leaves weights and ``inner``'s state as they are where the norm of all gradients is an outlier, or no number.

    The norm is that before clipping where the task tells it (``saw_norm``), else that of the gradients as they are. It is the same on
    all ranks, so all skip together. The decision is made on the host, which waits for the device once per step. The run's figures count
    what was skipped, as ``skipped_steps``.

    Args:
        weights: the weights to train, with their roles.
        inner: the optimizer that steps.
        window: steps whose norms are kept; nothing is skipped before half of them are known.
        sigma: standard deviations above their mean from which a norm is an outlier.
    """

    def __init__(
        self,
        weights: list[Weight],
        *,
        inner: Maker["optimizer"] = "adamw",
        window: Positive = 128,
        sigma: PositiveFloat = 6.0,
    ) -> None:
        self.inner = make(inner, "optimizer", weights=weights)
        super().__init__(self.inner.param_groups, self.inner.defaults)
        share(self, self.inner)
        self.window, self.sigma = window, sigma
        self._seen: Tensor | None = None
        self.param_groups[0].update(norms=[], skipped=0)

    def saw_norm(self, norm: Tensor) -> None:
        """The norm of this step's gradients before they were clipped."""
        self._seen = norm

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = called(closure)
        norm = self._norm() if self._seen is None else self._seen
        self._seen = None
        if norm is None:
            return loss
        first, value = self.param_groups[0], float(norm)
        if self.stands_out(first["norms"], value):
            first["skipped"] += 1
        else:
            self.inner.step()
        if math.isfinite(value):
            first["norms"] = [*first["norms"], value][-self.window :]
        return loss

    def figures(self) -> dict[str, float]:
        """``skipped_steps``: how many so far."""
        return {"skipped_steps": self.param_groups[0]["skipped"]}

    def stands_out(self, norms: list[float], value: float) -> bool:
        """More than ``sigma`` standard deviations above the mean of ``norms``, once there are enough of them; or no number."""
        if not math.isfinite(value):
            return True
        if len(norms) < max(2, self.window // 2):
            return False
        return value - statistics.fmean(norms) > self.sigma * statistics.stdev(norms)

    def _norm(self) -> Tensor | None:
        """Of all gradients together; shards are summed over their ranks."""
        parts = []
        for p in (p for group in self.param_groups for p in trained(group)):
            part = torch.linalg.vector_norm(grad_of(p), dtype=torch.promote_types(grad_of(p).dtype, torch.float32))
            parts.append(part.full_tensor() if isinstance(part, DTensor) else part)
        return torch.linalg.vector_norm(torch.stack(parts)) if parts else None

    def state_dict(self) -> State:
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: State) -> None:
        load(self, self.inner, state_dict)
