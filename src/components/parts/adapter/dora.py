"""DoRA: each row of a weight as its length, which is trained, times its direction, which LoRA changes.

Liu et al. 2024, arXiv:2402.09353, equations 5 and 11
"""

from __future__ import annotations

from torch import nn

from components.core.registry import register
from components.core.signature import Fraction, Positive, PositiveFloat
from components.functional.linear import MAPS
from components.parts.adapter._adapted import adapt
from components.parts.adapter._base import OverBase
from components.parts.adapter._low_rank import DoRALinear


@register("adapter", "dora")
class DoRA(OverBase):
    """m * V / ||V|| with V = W + alpha / rank * B A, for the linear maps that match; everything else is frozen.

    Args:
        rank: of each product.
        alpha: its factor is alpha / rank.
        dropout: of what goes into the product while training.
        targets: patterns over paths of linear maps: ``*.attention.q``, ``*.ffn.*``.
        train: patterns over paths of modules or names of parameters that are trained themselves: ``*norm*``, ``head``.
    """

    def __init__(
        self,
        *,
        rank: Positive = 8,
        alpha: PositiveFloat = 16.0,
        dropout: Fraction = 0.0,
        targets: tuple[str, ...] = ("*.attention.q", "*.attention.v"),
        train: tuple[str, ...] = (),
    ) -> None:
        self.targets, self.train = list(targets), list(train)
        self.options = {"rank": rank, "factor": alpha / rank, "dropout": dropout}

    def apply(self, model: nn.Module) -> nn.Module:
        return adapt(model, {"targets": self.targets}, dict.fromkeys(MAPS, DoRALinear), self.train, self.base, **self.options)
