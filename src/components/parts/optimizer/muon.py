"""Muon: hidden matrices step along the orthogonalised momentum of their gradient, all other weights by AdamW, in one optimizer.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the scale ``match_rms_adamw``: Liu et al. 2025, arXiv:2502.16982
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim.adamw import adamw

from components.core.registry import register
from components.core.signature import Fraction, NonNegativeFloat, Positive, PositiveFloat
from components.core.weights import Weight
from components.functional.orthogonal import orthogonalise, product_dtype
from components.functional.precision import at_least_fp32
from components.parts.optimizer._decayed import Decayed
from components.parts.optimizer._groups import can_fuse, checked_betas, decay_groups, refuse_none
from components.parts.optimizer._state import grad_of, load_wide, zeros

MOST_AT_ONCE = 2**25  # elements of one stack of matrices, so that large models need no second copy of themselves


@register("optimizer", "muon")
class Muon(Decayed, torch.optim.Optimizer):
    """Muon for matrices inside the layers (roles hidden and out, stacks of experts among them), AdamW for all other weights.

    Args:
        lr: peak learning rate of the matrices.
        momentum: decay of the running mean of gradients.
        nesterov: look ahead along the momentum.
        steps: Newton-Schulz iterations.
        adjust: scale of each matrix's step: ``original`` sqrt(max(1, out/in)), ``match_rms_adamw`` 0.2 sqrt(max(out, in)), so that AdamW's
            learning rate and decay fit, or ``none``.
        weight_decay: share of each matrix that is taken away per step, times the learning rate.
        dtype: of the products; ``auto`` takes bfloat16 where the device multiplies it fast.
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
        fused = self.fused and can_fuse(rest)
        extra = {"by": "adamw", "betas": checked_betas(self.adamw_betas), "eps": self.adamw_eps, "fused": fused}
        super().__init__(refuse_none(groups + [{**g, **extra} for g in rest]), {"lr": self.lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["by"] == "muon":
                self._muon(group)
            else:
                self._adamw(group)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        load_wide(self, state_dict, "momentum_buffer")

    def _muon(self, group: dict[str, Any]) -> None:
        parameters = [p for p in group["params"] if p.grad is not None]
        if not parameters:
            return
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])  # pyright: ignore[reportPrivateImportUsage]
        for pile in piles(parameters):
            for p in pile:
                if not self.state[p]:
                    self.state[p]["momentum_buffer"] = zeros(p)
            momenta = [self.state[p]["momentum_buffer"] for p in pile]
            torch._foreach_lerp_(momenta, [at_least_fp32(grad_of(p)) for p in pile], 1 - group["momentum"])  # pyright: ignore[reportPrivateImportUsage]
            # one by one: a small temporary stays in the cache, a copy of all gradients does not
            ahead = (
                at_least_fp32(grad_of(p)).lerp(m, group["momentum"]) if group["nesterov"] else m for p, m in zip(pile, momenta)
            )
            rate = group["lr"] * scale_of(pile[0].shape, group["adjust"], out_first=group["out_first"])
            for p, step in zip(pile, orthogonal_steps(ahead, pile, group)):
                p.add_(step.to(p.dtype), alpha=-rate)

    def _adamw(self, group: dict[str, Any]) -> None:
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

    def _state(self, p: Tensor, *names: str) -> dict[str, Any]:
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


def piles(parameters: list[Tensor]) -> list[list[Tensor]]:
    """Matrices of one shape and device together, at most ``MOST_AT_ONCE`` elements of them."""
    by_shape: dict[Any, list[list[Tensor]]] = {}
    for p in parameters:
        found = by_shape.setdefault((p.shape, p.device), [[]])
        if found[-1] and (len(found[-1]) + 1) * p.numel() > MOST_AT_ONCE:
            found.append([])
        found[-1].append(p)
    return [pile for found in by_shape.values() for pile in found]


def orthogonal_steps(updates: Iterable[Tensor], like: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
    """Each update orthogonalised. Shards are gathered, since a part of a matrix has other singular values than the whole."""
    device = like[0].to_local().device if isinstance(like[0], DTensor) else like[0].device
    dtype = product_dtype(device) if group["dtype"] == "auto" else getattr(torch, group["dtype"])
    stack = torch.empty(len(like), *like[0].shape, dtype=dtype, device=device)
    for row, update in zip(stack, updates):
        row.copy_(update.full_tensor() if isinstance(update, DTensor) else update)
    found = orthogonalise(stack.flatten(0, -3), group["steps"]).view(stack.shape)
    return [
        distribute_tensor(f, p.device_mesh, p.placements, src_data_rank=None) if isinstance(p, DTensor) else f
        for f, p in zip(found, like)
    ]
