"""Two models that are trained together: tables that both read with, and what draws the weights of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from components.core.traits import check_of, embeds, lr_scale_of, provides
from components.core.weights import Weight, key_of

if TYPE_CHECKING:
    from components.core.contracts import Init


class InitOfEach:
    """Draws each model's weights by its own init.

    Args:
        inits: {what the names of a model's weights begin with: its init}; the longest beginning counts.
    """

    def __init__(self, inits: Mapping[str, Init]) -> None:
        self.inits = dict(sorted(inits.items(), key=lambda item: -len(item[0])))

    def of(self, weight: Weight) -> Init:
        return next(init for start, init in self.inits.items() if key_of(weight).startswith(start))

    def __call__(self, weight: Weight, generator: torch.Generator) -> Tensor | None:
        return self.of(weight)(weight, generator)

    def check(self, weights: list[Weight]) -> None:
        for init in self.inits.values():
            if (check := check_of(init)) is not None:
                check([w for w in weights if self.of(w) is init])

    def lr_scale(self, weight: Weight) -> float:
        scale = lr_scale_of(self.of(weight))
        return 1.0 if scale is None else scale(weight)


Table = tuple[nn.Module, str]  # whose attribute, and which


def share_tables(model: nn.Module, other: nn.Module) -> None:
    """Let ``other`` read with the tables of ``model``: tokens and segments, learned positions, and the norm of their sum, as far as both have them.

    They stay the children of ``model``. ValueError where two are not alike.
    """
    theirs = tables(other)
    for what, (holder, name) in tables(model).items():
        if what not in theirs:
            continue
        table, (of, called) = getattr(holder, name), theirs[what]
        before = getattr(of, called)
        shapes, own = ([tuple(p.shape) for p in m.parameters()] for m in (table, before))
        if shapes != own:
            raise ValueError(
                f"the generator's {what} is {own} and the discriminator's {shapes}: give both one context_length and one width, by "
                f"embedding=projected where the models differ, or take shared=none"
            )
        delattr(of, called)
        object.__setattr__(of, called, table)
        for module in other.modules():  # a tied head knows the embedding too
            for attribute, value in list(vars(module).items()):
                if value is before:
                    object.__setattr__(module, attribute, table)


def tables(model: nn.Module) -> dict[str, Table]:
    """Where a model's tables are: at a width of their own inside the embedding, or at the model's."""
    of: Any = model
    embedding, stack = of.embedding, of.stack
    if provides(embedding, "narrow_table") and "inner" in dict(embedding.named_children()):
        found: dict[str, Table] = {"tokens": (embedding, "inner"), "norm": (embedding, "norm")}
        positions = [embedding.position]
    else:
        found = {"tokens": (model, "embedding"), "norm": (stack, "embedding_norm")}
        positions = list(stack.positions)
    learned = [p for p in positions if embeds(p) and "table" in dict(p.named_children())]
    return {**found, **({"positions": (learned[0], "table")} if learned else {})}
