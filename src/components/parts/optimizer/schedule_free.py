"""Schedule-free AdamW: gradients are taken between a fast sequence and its running average; the average is what is evaluated and saved.

Defazio et al. 2024, arXiv:2405.15682, algorithm 1 (AdamW); weights of the average as in its appendix and reference code
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from components.core.registry import register
from components.core.signature import NonNegativeFloat, PositiveFloat
from components.core.weights import Weight
from components.functional.precision import at_least_fp32
from components.parts.optimizer._decayed import Decayed
from components.parts.optimizer._groups import checked_betas
from components.parts.optimizer._state import called, copied, grad_of, keep_dtypes, trained, zeros


@register("optimizer", "schedule_free")
class ScheduleFree(Decayed, torch.optim.Optimizer):
    """Schedule-free AdamW, which needs no decaying learning rate: take ``schedule=constant schedule.warmup=0.02`` with it.

    The fast sequence z and its average x are its state, in fp32 at least; the parameters are y = (1 - betas[0]) z + betas[0] x while
    training and x after ``eval()``. Both follow from the state, so that a swap loses nothing.

    Args:
        lr: learning rate; up to ten times AdamW's.
        betas: share of the average where gradients are taken, and decay of the running mean square.
        eps: added to the root.
        weight_decay: share of each decayed matrix that is taken away per step, times the learning rate, as the paper has it at y.
        r: power of the step's number in its weight in the average; 0 weighs all steps alike.
        lr_power: power of the largest learning rate so far in a step's weight, so that a warm-up counts less.
    """

    lr = 2.5e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    r: NonNegativeFloat = 0.0
    lr_power: NonNegativeFloat = 2.0

    def __init__(self, weights: list[Weight]) -> None:
        defaults = {"lr": self.lr, "betas": checked_betas(self.betas), "eps": self.eps, "r": self.r, "lr_power": self.lr_power}
        super().__init__(self.groups(weights), {**defaults, "steps": 0, "lr_max": 0.0, "weight_sum": 0.0})
        self.averaged = False

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        if self.averaged:
            raise RuntimeError("schedule_free: the parameters hold the average; call optimizer.train() before a step")
        loss = called(closure)
        for group in self.param_groups:
            rate, count = float(group["lr"]), group["steps"] + 1
            group["steps"], group["lr_max"] = count, max(rate, group["lr_max"])
            weight = count ** group["r"] * group["lr_max"] ** group["lr_power"]
            group["weight_sum"] += weight
            share = weight / group["weight_sum"] if group["weight_sum"] else 0.0
            for p in trained(group):
                state, grad = self.state[p], at_least_fp32(grad_of(p))
                if not state:
                    state |= {"z": copied(p), "x": copied(p), "exp_avg_sq": zeros(p)}
                state["exp_avg_sq"].mul_(group["betas"][1]).addcmul_(grad, grad, value=1 - group["betas"][1])
                root = (state["exp_avg_sq"] / (1 - group["betas"][1] ** count)).sqrt_().add_(group["eps"])
                direction = grad / root
                if group["weight_decay"]:
                    direction.add_(at_least_fp32(p.detach()), alpha=group["weight_decay"])
                state["z"].sub_(direction, alpha=rate)
                state["x"].lerp_(state["z"], share)
                p.copy_(state["z"].lerp(state["x"], group["betas"][0]))
        return loss

    @torch.no_grad()
    def eval(self) -> None:
        """Put the average into the parameters."""
        for p, state in self.state.items():
            p.copy_(state["x"])
        self.averaged = True

    @torch.no_grad()
    def train(self) -> None:
        """Put back where gradients are taken: the same numbers as before ``eval()``, also after loading a state."""
        for group in self.param_groups:
            for p in group["params"]:
                if state := self.state.get(p):
                    p.copy_(state["z"].lerp(state["x"], group["betas"][0]))
        self.averaged = False

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        keep_dtypes(self, state_dict)
