"""Lion: step along the sign of a mix of the gradient and its running mean, with decoupled weight decay by role.

Chen et al. 2023, arXiv:2302.06675, algorithm 2
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from components.core.registry import register
from components.core.weights import Weight
from components.functional.precision import at_least_fp32
from components.parts.optimizer._decayed import Decayed
from components.parts.optimizer._groups import checked_betas
from components.parts.optimizer._state import called, grad_of, load_wide, trained, zeros


@register("optimizer", "lion")
class Lion(Decayed, torch.optim.Optimizer):
    """Lion over all weights: every number moves by the learning rate, whatever its gradient's size; one running mean is its whole state.

    Args:
        lr: peak learning rate; a third to a tenth of AdamW's.
        betas: share of the running mean in the direction, and decay of the running mean.
        weight_decay: share of each decayed matrix that is taken away per step, times the learning rate; three to ten times AdamW's.
    """

    lr = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)

    def __init__(self, weights: list[Weight]) -> None:
        super().__init__(self.groups(weights), {"lr": self.lr, "betas": checked_betas(self.betas)})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = called(closure)
        for group in self.param_groups:
            parameters = trained(group)
            if not parameters:
                continue
            grads, (direction, decay) = [at_least_fp32(grad_of(p)) for p in parameters], group["betas"]
            for p in parameters:
                if not self.state[p]:
                    self.state[p]["exp_avg"] = zeros(p)
            means = [self.state[p]["exp_avg"] for p in parameters]
            steps = [torch.sign(m.lerp(g, 1 - direction)).to(p.dtype) for p, m, g in zip(parameters, means, grads)]
            torch._foreach_lerp_(means, grads, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
            if group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_add_(parameters, steps, alpha=-group["lr"])  # pyright: ignore[reportPrivateImportUsage]
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        load_wide(self, state_dict, "exp_avg")
