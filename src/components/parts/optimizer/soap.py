"""SOAP: AdamW in the eigenbasis of Shampoo's preconditioner, for matrices inside the layers; all other weights by plain AdamW.

Vyas et al. 2024, arXiv:2409.11321, algorithm 3
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from components.core.owners import local
from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.weights import Weight
from components.functional.linear import matmul
from components.functional.precision import at_least_fp32
from components.parts.optimizer._decayed import Decayed
from components.parts.optimizer._groups import checked_betas, decay_groups, refuse_none
from components.parts.optimizer._spread import Round, Spreading, gradient
from components.parts.optimizer._state import Group, State, called, grad_of, trained

TIES = 1e-3  # of the mean of a covariance's eigenvalues: below it, directions count as equally long


@register("optimizer", "soap")
class SOAP(Spreading, Decayed, torch.optim.Optimizer):
    """SOAP for hidden and out matrices, each expert's by itself; embedding, head, scales, biases and the rest by AdamW.

    A matrix's first gradient only sets up its basis, so that no gradient is projected by itself. Its state is in fp32 at least, and whole on the one
    rank that computes the matrix's steps; ranks share matrices out. So all ranks call ``state_dict``, which puts the states together.

    Args:
        betas: decay of the running mean of the gradient and of its square.
        shampoo_beta: decay of the running covariances; null takes the second of ``betas``.
        eps: added to the root.
        every: steps between two updates of the basis.
        largest: an axis longer than this keeps its own basis.
    """

    lr = 3e-3
    weight_decay = 0.01
    betas: tuple[float, float] = (0.95, 0.95)
    shampoo_beta: float | None = None
    eps: PositiveFloat = 1e-8
    every: Positive = 10
    largest: Positive = 10000

    resident = ("exp_avg", "exp_avg_sq", "covariance_left", "basis_left", "covariance_right", "basis_right")

    def __init__(self, weights: list[Weight]) -> None:
        rotated = {id(w.parameter) for w in weights if w.role in ("hidden", "out") and w.parameter.ndim in (2, 3)}
        shampoo = self.betas[-1] if self.shampoo_beta is None else self.shampoo_beta
        if not 0.0 <= shampoo < 1.0:
            raise ValueError(f"shampoo_beta={self.shampoo_beta}: a decay, at least 0 and below 1")
        extra = {"betas": checked_betas(self.betas), "shampoo_beta": shampoo, "eps": self.eps}
        extra |= {"every": self.every, "largest": self.largest}
        groups: list[dict[str, Any]] = []
        for by in ("soap", "adamw"):
            some = [w for w in weights if (id(w.parameter) in rotated) == (by == "soap")]
            found = decay_groups(some, lr=self.lr, weight_decay=self.weight_decay, decay_embedding=self.decay_embedding)
            groups += [{**g, "by": by, **extra} for g in found]
        super().__init__(refuse_none(groups), {"lr": self.lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = called(closure)
        for group in self.param_groups:
            if not self.whole(group):
                for p in trained(group):
                    state, grad = self.state[p], at_least_fp32(grad_of(p))
                    if "steps" not in state:
                        state |= {"steps": 0, "exp_avg": torch.zeros_like(grad), "exp_avg_sq": torch.zeros_like(grad)}
                    state["steps"] += 1
                    self._move(p, self._direction(p, grad, group), group)
                continue
            known = [p for p in trained(group) if "steps" in self.state[p]]
            for some in self.rounds([p for p in trained(group) if "steps" not in self.state[p]]):
                self._begin(some, group)
            for some in self.rounds(known):
                self._together(some, group)
        return loss

    def whole(self, group: Group) -> bool:
        return group["by"] == "soap"

    def cost(self, p: Tensor) -> float:
        """Products: four with the gradient's two sides in each step, and those of an update of the basis."""
        rows, columns = p.shape[-2:]
        return float(p.numel() * (rows + columns) * 4 + p.numel() // (rows * columns) * (rows**3 + columns**3))

    def _begin(self, some: Round, group: Group) -> None:
        """Set up the basis of some matrices by their first gradient."""
        for p, grad in zip(some.mine, self._gathered(some)):
            state = self.state[p]
            state |= {"exp_avg": torch.zeros_like(grad), "exp_avg_sq": torch.zeros_like(grad)}
            for side, size in zip(SIDES, grad.shape[-2:]):
                if size <= group["largest"]:
                    state[f"covariance_{side}"] = (1 - group["shampoo_beta"]) * covariance(grad, side)
                    basis = torch.linalg.eigh(without_ties(state[f"covariance_{side}"]))[1]
                    state[f"basis_{side}"] = basis.flip(-1).contiguous()
        for p in some.parameters:
            self.state[p]["steps"] = 0

    def _together(self, some: Round, group: Group) -> None:
        """A step of some matrices: ranks send what they have of the gradient, and get what they have of the step."""
        for p in some.parameters:
            self.state[p]["steps"] += 1
        steps = [self._direction(p, grad, group) for p, grad in zip(some.mine, self._gathered(some))]
        for p, step in some.scatter(steps, at_least_fp32(local(some.parameters[0]))):
            self._move(local(p), step, group)

    def _gathered(self, some: Round) -> list[Tensor]:
        like = at_least_fp32(local(some.parameters[0]))
        grads = [like.new_empty(p.shape) for p in some.mine]
        some.gather(gradient, grads, like)
        return grads

    def _move(self, p: Tensor, step: Tensor, group: Group) -> None:
        if group["weight_decay"]:
            p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(step.to(p.dtype), alpha=-group["lr"])

    def _direction(self, p: Tensor, grad: Tensor, group: Group) -> Tensor:
        """Adam's step, in the basis of the state where it has one."""
        state, (beta1, beta2) = self.state[p], group["betas"]
        inside = turn(grad, state)
        state["exp_avg"].lerp_(grad, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(inside, inside, value=1 - beta2)
        root = (state["exp_avg_sq"] / (1 - beta2 ** state["steps"])).sqrt_().add_(group["eps"])
        step = turn(turn(state["exp_avg"], state) / (1 - beta1 ** state["steps"]) / root, state, back=True)
        for side in SIDES:
            if f"covariance_{side}" in state:
                state[f"covariance_{side}"].lerp_(covariance(grad, side), 1 - group["shampoo_beta"])
                if state["steps"] % group["every"] == 0:
                    renew(state, side)
        return step


SIDES = ("left", "right")


def covariance(grad: Tensor, side: str) -> Tensor:
    """G Gᵀ or Gᵀ G, of each matrix."""
    return matmul(grad, grad.mT) if side == "left" else matmul(grad.mT, grad)


def without_ties(covariance: Tensor) -> Tensor:
    """The same with a little on its diagonal, less and less from the first entry to the last.

    A gradient has fewer directions than a matrix has sides, and the eigenvectors of the rest are any: rounding would choose them. Each is a direction in
    which Adam divides by the root of what little there is, so that two runs whose gradients differ in the last bit would soon be different runs.
    """
    sides = covariance.shape[-1]
    less = torch.arange(sides, 0, -1, dtype=covariance.dtype, device=covariance.device) / sides
    mean = covariance.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)
    return covariance + torch.diag_embed(TIES * mean * less)


def turn(x: Tensor, state: State, *, back: bool = False) -> Tensor:
    """Into the basis, Q_Lᵀ x Q_R, or back out of it; without a basis the identity."""
    left, right = state.get("basis_left"), state.get("basis_right")
    if left is not None:
        x = matmul(left if back else left.mT, x)
    return x if right is None else matmul(x, right.mT if back else right)


def renew(state: State, side: str) -> None:
    """One step of power iteration from the old basis, its vectors in the order of their eigenvalues; the mean squares go along."""
    matrix, basis = without_ties(state[f"covariance_{side}"]), state[f"basis_{side}"]
    size = (basis * matmul(matrix, basis)).sum(-2)
    order = size.argsort(-1, descending=True)
    axis = -2 if side == "left" else -1
    chosen = order.unsqueeze(-1 if side == "left" else -2).expand_as(state["exp_avg_sq"])
    state["exp_avg_sq"] = state["exp_avg_sq"].gather(axis, chosen)
    turned = matmul(matrix, basis.gather(-1, order.unsqueeze(-2).expand_as(basis)))
    state[f"basis_{side}"] = torch.linalg.qr(turned)[0].contiguous()
