"""What no rule names is drawn by another init."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from components.core.registry import register
from components.core.sockets import Maker, make
from components.core.traits import check_of, lr_scale_of
from components.core.weights import MATRICES, Weight, key_of
from components.parts.init._draw import drawn


@register("init", "rules")
class Rules:
    """Rules: how each matrix is drawn by its name, first match wins.

    Args:
        rules: {pattern: std or init}; ``*`` and ``?`` in a pattern stand for any characters of the full name; on the command line
            without quotes, ``model.init.rules={*.ffn.out.weight: 0.01}``.
            An init is a name or a mapping with one, ``{name: xavier, gain: 0.5}``.
        base: init of what no rule names. Scales, biases and other constants are not drawn, whatever the rules say.

    Errors: ValueError where the model is built, for a pattern that names no matrix or is always preceded by another, or a value that is neither.
    """

    def __init__(self, d_model: int, n_layers: int, *, rules: dict | None = None, base: Maker["init"] = "depth_scaled") -> None:
        sizes = {"d_model": d_model, "n_layers": n_layers}
        self.rules: dict[str, Any] = {}
        for pattern, value in (rules or {}).items():
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float, str, dict))
                or (isinstance(value, (int, float)) and value < 0)
            ):
                raise ValueError(f"rules[{pattern!r}]={value!r}: a standard deviation of at least 0, or an init by name")
            self.rules[pattern] = float(value) if isinstance(value, (int, float)) else make(value, "init", **sizes)
        self.base = make(base, "init", **sizes)

    def check(self, weights: Sequence[Weight]) -> None:
        """Every pattern decides about at least one matrix of the model."""
        names = [key_of(w) for w in weights if w.role in MATRICES]
        used = {self.pattern(name) for name in names}
        for pattern in self.rules:
            if pattern not in used:
                earlier = next((self.pattern(n) for n in names if fnmatchcase(n, pattern)), None)
                why = (
                    f"every matrix it names is named by {earlier!r} before it"
                    if earlier
                    else "it names no matrix of this model"
                )
                raise ValueError(f"init rules: pattern {pattern!r}: {why}; names are such as {', '.join(names[:4])}")
        for init in [self.base, *self.rules.values()]:
            if (check := check_of(init)) is not None:
                check(weights)

    def pattern(self, name: str) -> str | None:
        return next((p for p in self.rules if fnmatchcase(name, p)), None)

    def chosen(self, weight: Weight) -> Any:
        return self.rules.get(self.pattern(key_of(weight)) or "", self.base)

    def lr_scale(self, weight: Weight) -> float:
        scale = lr_scale_of(self.chosen(weight))
        return 1.0 if scale is None else scale(weight)

    def __call__(self, weight: Weight, generator: torch.Generator) -> Tensor | None:
        if weight.role not in MATRICES:
            return None
        init = self.chosen(weight)
        return drawn(weight, generator, init) if isinstance(init, float) else init(weight, generator)
