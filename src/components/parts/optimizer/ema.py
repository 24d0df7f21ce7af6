"""EMA: an exponential running average of the weights that another optimizer trains; the average is what is evaluated and saved.

Polyak & Juditsky 1992; as used since Vaswani et al. 2017 and Ho et al. 2020, arXiv:2006.11239, appendix B
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from components.core.makers import Maker, make
from components.core.registry import register
from components.core.signature import Fraction
from components.core.weights import Weight
from components.functional.precision import at_least_fp32
from components.parts.optimizer._nested import SeesNorm, averaging, layers, load, share
from components.parts.optimizer._state import State, called, copied, keep_dtypes


@register("optimizer", "ema")
class EMA(torch.optim.Optimizer):
    """Averages what ``inner`` trains: average = decay * average + (1 - decay) * weight after each step, in fp32 at least.

    ``eval()`` swaps average and parameters, ``train()`` swaps them back; the state says which of the two it holds, so that what is
    saved between them goes on exactly. Weights narrower than fp32 have a place of their own in the state meanwhile.

    Args:
        weights: the weights to train, with their roles.
        inner: the optimizer that trains them.
        decay: of the average.
        warm: at step t the decay is at most (1 + t) / (10 + t), so that the first weights are soon forgotten.
    """

    def __init__(
        self,
        weights: list[Weight],
        *,
        inner: Maker["optimizer"] = "adamw",
        decay: Fraction = 0.999,
        warm: bool = True,
    ) -> None:
        self.inner = make(inner, "optimizer", weights=weights)
        if (other := averaging(self.inner)) is not None:
            raise ValueError(
                f"inner: {type(other).__name__} averages weights itself; an average of an average is not supported"
            )
        if any(isinstance(layer, SeesNorm) for layer in layers(self.inner)):
            raise ValueError("inner: skip_step goes around ema, so that a step that is skipped is not averaged")
        super().__init__(self.inner.param_groups, self.inner.defaults)
        share(self, self.inner)
        self.decay, self.warm = decay, warm
        for group in self.param_groups:
            group |= {"averaged_steps": 0, "averaged": False}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        if self.param_groups[0]["averaged"]:
            raise RuntimeError("ema: the parameters hold the average; call optimizer.train() before a step")
        loss = called(closure)
        moving = [p for g in self.param_groups for p in g["params"] if p.grad is not None or "average" in self.state[p]]
        # beside the state, not in it: an optimizer knows its first step by an empty one
        first = {p: copied(p) for p in moving if "average" not in self.state[p]}
        self.inner.step()
        for group in self.param_groups:
            group["averaged_steps"] += 1
        for p in moving:
            state = self.state[p]
            if p in first:  # all keys from the first step on: what loads a sharded state makes them by a step
                state["average"] = first[p]
                if p.dtype != first[p].dtype:
                    state["trained"] = torch.zeros_like(p)
            state["average"].lerp_(at_least_fp32(p.detach()), 1 - self._decay())
        return loss

    def _decay(self) -> float:
        t = self.param_groups[0]["averaged_steps"]
        return min(self.decay, (1 + t) / (10 + t)) if self.warm else self.decay

    @torch.no_grad()
    def eval(self) -> None:
        """Put the average into the parameters."""
        self._swap(averaged=True)

    @torch.no_grad()
    def train(self) -> None:
        """Put the trained weights back, also after loading a state that was saved between ``eval()`` and ``train()``."""
        self._swap(averaged=False)

    def _swap(self, *, averaged: bool) -> None:
        if self.param_groups[0]["averaged"] == averaged:
            return
        for group in self.param_groups:
            group["averaged"] = averaged
        for p, state in self.state.items():
            if "average" not in state:
                continue
            if "trained" not in state:
                held = p.detach().clone()
                p.copy_(state["average"])
                state["average"].copy_(held)
            elif averaged:
                state["trained"].copy_(p)
                p.copy_(state["average"])
            else:
                p.copy_(state["trained"])

    def state_dict(self) -> State:
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: State) -> None:
        load(self, self.inner, state_dict)
        keep_dtypes(self, state_dict)
