"""Which weights of a model learn, and at which rates: what the init says of each and what the tuning does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn, optim

from components.core import registry
from components.core.errors import UserError
from components.core.makers import Bound, make
from components.core.weight_names import first_few, summarize_names
from components.core.weights import Weight, roles

TORCHS = tuple(c for c in vars(optim).values() if isinstance(c, type) and c is not optim.Optimizer)


def tuned(model: nn.Module, config: dict[str, Any]) -> list[Weight]:
    """Every weight with its factors on the learning rate; a config of before there were tunings has them all learn alike."""
    weights = list(roles(model))
    scale = getattr(getattr(model, "init", None), "lr_scale", None)
    rates = make(Bound(config.get("tuning") or "all", where="tuning"), "tuning").rates(weights)
    return [replace(w, lr_scale=scale(w) if scale else 1.0, rate=rate) for w, rate in zip(weights, rates, strict=True)]


def freeze(model: nn.Module, config: dict[str, Any]) -> None:
    """Those at rate 0 have no gradient. What an adapter has frozen stays so.

    Raises:
        UserError: nothing is left to learn.
    """
    weights = tuned(model, config)
    for w in weights:
        if w.rate == 0.0:
            w.parameter.requires_grad_(False)
    if weights and not any(w.parameter.requires_grad for w in weights):
        raise UserError("tuning", "every weight of the model is frozen", "say what learns: tuning.but=[head]")


def rate_lines(model: nn.Module, config: dict[str, Any]) -> list[str]:
    """What the tuning freezes and what it slows down, for people; nothing where all learn alike."""
    weights = tuned(model, config)
    names = [w.name for w in weights]
    lines = []
    if frozen := [w.name for w in weights if w.rate == 0.0]:
        lines.append(f"frozen: {first_few(summarize_names(frozen, names))}")
    found: dict[float, list[str]] = {}
    for w in weights:
        if w.parameter.requires_grad:
            found.setdefault(w.rate, []).append(w.name)
    if len(found) > 1 or set(found) - {1.0}:
        said = (f"{rate:.3g} {first_few(summarize_names(found[rate], names))}" for rate in sorted(found, reverse=True))
        lines.append(f"learning rates, as a share: {'; '.join(said)}")
    return lines


def narrow_lines(config: dict[str, Any], precision: Any) -> list[str]:
    """That torch's own optimizers keep their averages in the weights' dtype, where that is bf16 or fp16: small steps of theirs are lost."""
    if str(precision) not in ("bf16-true", "16-true"):
        return []
    node = config["optimizer"]
    while isinstance(node, dict) and "inner" in node:
        node = node["inner"]
    name = str(node.get("name", "")) if isinstance(node, dict) else str(node)
    made = registry.find("optimizer", name) if ("optimizer", name) in registry.entries("optimizer") else None
    if not (isinstance(made, type) and issubclass(made, TORCHS)):
        return []
    kind = str(precision).removesuffix("-true")
    return [
        f"optimizer/{name} keeps its averages in {kind}, as the weights are; trainer.precision=bf16-mixed keeps both in fp32"
    ]
