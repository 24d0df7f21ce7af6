"""Muon: hidden matrices step along the orthogonalised momentum of their gradient, all other weights by AdamW, in one optimizer.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the scale ``match_rms_adamw``: Liu et al. 2025, arXiv:2502.16982
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from components.core.owners import local
from components.core.registry import register
from components.core.signature import Fraction, NonNegativeFloat, Positive, PositiveFloat
from components.core.weights import Weight
from components.functional.orthogonal import orthogonalise, product_dtype, products
from components.functional.precision import at_least_fp32
from components.parts.optimizer._decayed import Decayed
from components.parts.optimizer._groups import checked_betas, decay_groups, fuses, refuse_none
from components.parts.optimizer._spread import Round, Spreading, gradient
from components.parts.optimizer._state import Group, State, called, grad_of, load_wide, trained, zeros


@register("optimizer", "muon")
class Muon(Spreading, Decayed, torch.optim.Optimizer):
    """Muon for matrices inside the layers (roles hidden and out, stacks of experts among them), AdamW for all other weights.

    Its momentum is sharded as the weights are. Each matrix's step is computed whole by one of the ranks, which share them out.

    Args:
        lr: peak learning rate of the matrices.
        momentum: decay of the running mean of gradients.
        nesterov: look ahead along the momentum.
        steps: Newton-Schulz iterations.
        adjust: scale of each matrix's step: ``original`` sqrt(max(1, out/in)), ``match_rms_adamw`` 0.2 sqrt(max(out, in)), so that AdamW's
            learning rate and decay fit, or ``none``.
        weight_decay: share of each matrix that is taken away per step, times the learning rate.
        dtype: of the products; ``auto`` takes bfloat16 where the device multiplies it fast, and float64 for weights in it.
        adamw_lr: peak learning rate of the other weights.
        adamw_betas: AdamW's decay of the running mean of the gradient and of its square.
        adamw_eps: added to AdamW's root.
        adamw_weight_decay: AdamW's decay of head and router.
        fused: use torch's fused AdamW where the device has one.
    """

    lr = 0.02
    momentum: Fraction = 0.95
    nesterov: bool = True
    steps: Positive = 5
    adjust: Literal["original", "match_rms_adamw", "none"] = "original"
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    adamw_lr: PositiveFloat = 3e-3
    adamw_betas: tuple[float, float] = (0.9, 0.95)
    adamw_eps: PositiveFloat = 1e-8
    adamw_weight_decay: NonNegativeFloat = 0.0
    fused: bool = True

    def __init__(self, weights: list[Weight]) -> None:
        matrices = [w for w in weights if takes_muon(w)]
        chosen = {id(w.parameter) for w in matrices}
        others = [w for w in weights if id(w.parameter) not in chosen]
        muon = {"by": "muon", "weight_decay": self.weight_decay, "momentum": self.momentum, "nesterov": self.nesterov}
        muon |= {"steps": self.steps, "adjust": self.adjust, "dtype": self.dtype}
        found: dict[tuple[bool, float], list[nn.Parameter]] = {}
        for w in sorted(matrices, key=lambda w: not isinstance(w.module, nn.Linear)):
            # nn.Linear keeps (out, in), everything else (in, out); the scale asks which is which
            found.setdefault((isinstance(w.module, nn.Linear), w.rate), []).append(w.parameter)
        groups: list[dict[str, Any]] = []
        for (out_first, rate), members in found.items():
            own = {"lr": self.lr * rate, "initial_lr": self.lr * rate}
            groups.append({"params": members, "out_first": out_first, **own, **muon})
        decay, embedding = self.adamw_weight_decay, self.decay_embedding
        rest = decay_groups(others, lr=self.adamw_lr, weight_decay=decay, decay_embedding=embedding)
        fused = fuses(rest, asked=self.fused)
        extra = {"by": "adamw", "betas": checked_betas(self.adamw_betas), "eps": self.adamw_eps, "fused": fused}
        super().__init__(refuse_none(groups + [{**g, **extra} for g in rest]), {"lr": self.lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = called(closure)
        for group in self.param_groups:
            if group["by"] == "muon":
                self._muon(group)
            else:
                self._adamw(group)
        return loss

    def whole(self, group: Group) -> bool:
        return group["by"] == "muon"

    def cost(self, p: Tensor) -> float:
        return products(p.shape, self.steps)

    def load_state_dict(self, state_dict: State) -> None:
        super().load_state_dict(state_dict)
        load_wide(self, state_dict, "momentum_buffer")

    def _muon(self, group: Group) -> None:
        parameters = trained(group)
        if group["weight_decay"] and parameters:
            torch._foreach_mul_([local(p) for p in parameters], 1 - group["lr"] * group["weight_decay"])  # pyright: ignore[reportPrivateImportUsage]
        for some in self.rounds(parameters):
            self._together(some, group)

    def _together(self, some: Round, group: Group) -> None:
        """A step of some matrices: ranks send what they have of the direction, and get what they have of the orthogonal one."""
        for p in some.parameters:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = zeros(p)
        momenta = {p: local(self.state[p]["momentum_buffer"]) for p in some.parameters}
        grads = [at_least_fp32(gradient(p)) for p in some.parameters]
        torch._foreach_lerp_([*momenta.values()], grads, 1 - group["momentum"])  # pyright: ignore[reportPrivateImportUsage]
        del grads  # a copy where they are in half precision

        def ahead(p: Tensor) -> Tensor:
            return at_least_fp32(gradient(p)).lerp(momenta[p], group["momentum"]) if group["nesterov"] else momenta[p]

        first = local(some.parameters[0])
        like = first.new_empty(0, dtype=product_dtype(first) if group["dtype"] == "auto" else getattr(torch, group["dtype"]))
        stack = like.new_empty(len(some.mine), *(some.mine[0].shape if some.mine else (0,)))
        # one by one: a small temporary stays in the cache, a copy of all gradients does not
        some.gather(ahead, stack.unbind() if some.mine else (), like)
        steps = orthogonalise(stack.flatten(0, -3), group["steps"]).view(stack.shape) if some.mine else stack
        for p, step in some.scatter(steps.unbind(), like):
            rate = group["lr"] * scale_of(p.shape, group["adjust"], out_first=group["out_first"])
            local(p).add_(step.to(p.dtype), alpha=-rate)

    def _adamw(self, group: Group) -> None:
        parameters = [p for p in group["params"] if p.grad is not None]
        if not parameters:
            return
        states = [self._state(p, "exp_avg", "exp_avg_sq") for p in parameters]
        for p, state in zip(parameters, states):
            if "step" not in state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=p.device if group["fused"] else "cpu")
        adamw(
            parameters,
            [grad_of(p) for p in parameters],
            [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states],
            [],
            [s["step"] for s in states],
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _state(self, p: Tensor, *names: str) -> State:
        """The parameter's state with the named tensors, zero at first; sharded as the parameter is."""
        state = self.state[p]
        for name in names:
            if name not in state:
                state[name] = torch.zeros_like(p, memory_format=torch.preserve_format)
        return state


def takes_muon(weight: Weight) -> bool:
    """Matrices inside the layers, and stacks of them. Embedding and head are tables of vectors: their rows do not share directions."""
    return weight.role in ("hidden", "out") and weight.parameter.ndim in (2, 3) and weight.parameter.requires_grad


def scale_of(shape: torch.Size, adjust: str, *, out_first: bool) -> float:
    d_out, d_in = (shape[-2], shape[-1]) if out_first else (shape[-1], shape[-2])
    if adjust == "original":
        return max(1.0, d_out / d_in) ** 0.5
    return 0.2 * max(d_out, d_in) ** 0.5 if adjust == "match_rms_adamw" else 1.0
