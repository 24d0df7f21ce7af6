"""Weights whose names match keep the values that they began with, and the others learn.

Howard & Ruder 2018 (ULMFiT), arXiv:1801.06146, section 3.3, compares it with what else one can do; Peters et al. 2019, arXiv:1903.05987
"""

from __future__ import annotations

from components.core.registry import register
from components.core.weight_names import matching
from components.core.weights import Weight


@register("tuning", "frozen")
class Frozen:
    """Frozen: what the patterns match does not learn, everything else does. As it stands it trains the head alone.

    A frozen module is in training mode all the same: its dropout stays, and so do statistics that it keeps. A head that is tied to the
    embedding has no weight of its own: it is named ``embedding``.

    Args:
        patterns: over paths of modules or names of weights: ``embedding``, ``stack.layers.0``, ``*.attention.*``, ``*``. One that
            matches nothing is an error.
        but: patterns, likewise, of what learns although one of ``patterns`` matches it.
    """

    def __init__(self, *, patterns: tuple[str, ...] = ("*",), but: tuple[str, ...] = ("head",)) -> None:
        self.patterns, self.but = list(patterns), list(but)

    def rates(self, weights: list[Weight]) -> list[float]:
        names = [w.name for w in weights]
        frozen = {n for pattern in self.patterns for n in matching(pattern, names, "tuning.patterns")}
        learning = {n for pattern in self.but for n in matching(pattern, names, "tuning.but")}
        return [0.0 if n in frozen - learning else 1.0 for n in names]
