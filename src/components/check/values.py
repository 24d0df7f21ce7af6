"""Properties of a part's results, forward and backward: shape, dtype, finite values, a gradient and a role for every
parameter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from components.check.cases import Violation, holds
from components.check.host import LENGTH, VOCAB, Host, ids, objective, total_loss
from components.core.abilities import HasReference, SaysZero
from components.core.traits import each_turn, provides, turns_of
from components.core.weights import ROLES, Weight, roles

KEEPS_WIDTH = ("attention", "ffn", "norm")  # kinds whose output is as wide as their input


@holds("keeps shape and dtype")
def keeps_shape_and_dtype(host: Host) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        model = host.model(0.1, dtype=dtype)
        seen: list[str] = []

        def look(
            _: nn.Module, given: tuple[Tensor, ...], out: object, dtype: torch.dtype = dtype, seen: list[str] = seen
        ) -> None:
            x = given[0]
            if isinstance(out, Tensor) and (out.dtype != dtype or out.shape != x.shape):
                seen.append(f"{tuple(x.shape)} {dtype} became {tuple(out.shape)} {out.dtype}")

        if host.subject.kind in KEEPS_WIDTH:
            for part in host.parts(model):
                part.register_forward_hook(look)
        try:
            logits = host.run(model, ids())
        except RuntimeError as e:
            raise Violation(seen[0].replace("torch.", "") if seen else str(e)) from e
        if seen:
            raise Violation(seen[0].replace("torch.", ""))
        for x in tensors(logits):
            if x.dtype != dtype:
                raise Violation(f"logits of a {dtype} model are {x.dtype}".replace("torch.", ""))
            if host.subject.kind in ("head", "pooling"):
                wrong = x.shape[0] != 2
            else:  # a model may ask for a head of scores
                wrong = x.shape != (2, LENGTH, 1 if provides(model.head, "scores") else VOCAB)
            if wrong:
                raise Violation(f"logits have the shape {tuple(x.shape)}")


@holds("is finite in fp32 and bf16")
def is_finite(host: Host) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        for x in tensors(host.run(host.model(0.1, dtype=dtype), ids())):
            finite(x, f"logits in {dtype}")


@holds("trains under bf16 autocast")
def trains_under_autocast(host: Host) -> None:
    model = host.model(0.1, dtype=torch.float32).train()
    with torch.autocast(torch.device(host.device).type, dtype=torch.bfloat16):
        loss = total_loss(model(host.batch(ids()), objective))
    loss.backward()
    finite(loss, "the loss")
    for name, p in model.named_parameters():
        if p.grad is not None:
            finite(p.grad, f"the gradient of {name}")


@holds("every parameter has a role")
def has_roles(host: Host) -> None:
    try:
        found = list(roles(host.build()))
    except ValueError as e:
        raise Violation(str(e)) from e
    for weight in found:
        if weight.role not in ROLES:
            raise Violation(f"{weight.name} has the role {weight.role!r}, which is none of {', '.join(ROLES)}")


def gives_zeros(target: object) -> bool:
    """Whether the part says that its weights get no gradient."""
    return isinstance(target, SaysZero) and target.zero


@holds("every parameter has a gradient", applies=lambda host: not gives_zeros(host.subject.target))
def has_gradients(host: Host) -> None:
    model = host.model(0.1)
    weights = {w.name: w for w in declared(model)}
    batch = host.batch(ids(16 if any("experts" in w.axes for w in weights.values()) else 4))
    if turns_of(model):
        model.train()
    for _ in each_turn(model):
        total_loss(model(batch, objective)).backward()
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        if p.grad is None:
            raise Violation(f"{name} has none")
        grad, weight = p.grad, weights.get(name)
        if weight is not None and weight.role == "embedding":
            grad = grad[grad.abs().sum(-1) > 0]  # rows of tokens and positions that did not occur have none
        if weight is not None and "experts" in weight.axes and weight.role != "router":
            grad = grad[grad.flatten(1).abs().sum(1) > 0] if grad.ndim > 1 else grad[grad != 0]  # experts that nobody chose
        share = (grad != 0).double().mean() if grad.numel() else torch.zeros(())
        if not share >= 0.99:
            raise Violation(f"{name}: {share:.0%} of its elements have one")


def declared(model: nn.Module) -> list[Weight]:
    """The weights with their roles. Empty if a weight has no role: another property reports that."""
    try:
        return list(roles(model))
    except ValueError:
        return []


@holds("equals its reference", applies=lambda host: isinstance(host.subject.target, HasReference))
def equals_reference(host: Host) -> None:
    """A part may have a method ``reference``: the paper's formula, written plainly, with the arguments of ``forward``."""
    model = host.model()
    calls: list[str] = []

    def compare(part: nn.Module, given: tuple[object, ...], kwargs: dict[str, object], out: object) -> None:
        want = part.reference(*given, **kwargs)  # type: ignore[operator]
        calls.append("")
        for a, b in zip(tensors(out), tensors(want), strict=True):
            error = (a - b).abs().max().item() if a.shape == b.shape else float("inf")
            if not error <= 1e-9 * max(1.0, b.abs().max().item()):
                raise Violation(f"forward differs from it by {error:.2g}")

    for part in host.parts(model):
        part.register_forward_hook(compare, with_kwargs=True)
    host.run(model, ids())
    if not calls:
        raise Violation("forward was never called, so that nothing was compared")


def tensors(tree: object) -> list[Tensor]:
    return [x for x in pytree.tree_leaves(tree) if isinstance(x, Tensor)]


def finite(x: Tensor, what: str) -> None:
    if not torch.isfinite(x).all():
        raise Violation(f"{(~torch.isfinite(x)).sum().item()} of {x.numel()} elements of {what} are not finite")
