"""Which weights of a model learn, and at which rates: the factors of the init and those of the tuning."""

from __future__ import annotations

from dataclasses import replace

from torch import nn, optim

from components.core import registry
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.makers import ScopedMaker, make
from components.core.traits import lr_scale_of
from components.core.weight_names import first_few, summarize_names
from components.core.weights import Weight, roles

TORCHS = tuple(c for c in vars(optim).values() if isinstance(c, type) and c is not optim.Optimizer)


def tuned(model: nn.Module, config: Config) -> list[Weight]:
    """All weights with their learning-rate factors. Configs saved before ``tuning`` existed use factor 1 for all."""
    weights = list(roles(model))
    scale = lr_scale_of(model.init)
    rates = make(ScopedMaker(config.get("tuning") or "all", where="tuning"), "tuning").rates(weights)
    return [replace(w, lr_scale=scale(w) if scale else 1.0, rate=rate) for w, rate in zip(weights, rates, strict=True)]


def freeze(model: nn.Module, config: Config) -> None:
    """Freeze the weights with rate 0. What an adapter has frozen stays frozen.

    Raises:
        UserError: no weight is left to learn.
    """
    weights = tuned(model, config)
    for w in weights:
        if w.rate == 0.0:
            w.parameter.requires_grad_(False)
    if weights and not any(w.parameter.requires_grad for w in weights):
        raise UserError("tuning", "every weight of the model is frozen", "say what learns: tuning.but=[head]")


def rate_lines(model: nn.Module, config: Config) -> list[str]:
    """Lines about what the tuning freezes or slows down; empty if all weights learn alike."""
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


def narrow_lines(config: Config, precision: object) -> list[str]:
    """A warning if one of torch's own optimizers keeps its averages in bf16 or fp16, the weights' dtype: small steps get lost."""
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
