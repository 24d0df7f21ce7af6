"""LoRA: beside each chosen frozen weight a product of two narrow matrices is trained, which adds to it.

Hu et al. 2021, arXiv:2106.09685, section 4.1; rank-stabilised: Kalajdzievski 2023, arXiv:2312.03732
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from components.core.registry import register
from components.core.signature import Fraction, Positive, PositiveFloat
from components.core.weights import Experts
from components.functional.linear import MAPS
from components.parts.adapter._adapted import adapt
from components.parts.adapter._base import OverBase
from components.parts.adapter._low_rank import LoRAEmbedding, LoRAExperts, LoRALinear


@register("adapter", "lora")
class LoRA(OverBase):
    """W + alpha / rank * B A for the weights of all modules that match; everything else is frozen.

    Args:
        rank: of each product.
        alpha: numerator of its factor.
        scaling: its denominator: ``rank``, or the root of it, so that larger ranks do not learn more slowly (rsLoRA).
        dropout: of what goes into the product while training.
        targets: patterns over paths of linear maps, stacks of experts and tables: ``*.attention.q``, ``*.ffn.*``, ``*``.
        train: patterns over paths of modules or names of parameters that are trained themselves: ``*norm*``, ``head``.
    """

    def __init__(
        self,
        *,
        rank: Positive = 8,
        alpha: PositiveFloat = 16.0,
        scaling: Literal["rank", "root"] = "rank",
        dropout: Fraction = 0.0,
        targets: tuple[str, ...] = ("*.attention.q", "*.attention.v"),
        train: tuple[str, ...] = (),
    ) -> None:
        self.targets, self.train = list(targets), list(train)
        self.options = {"rank": rank, "factor": alpha / (rank if scaling == "rank" else rank**0.5), "dropout": dropout}

    def apply(self, model: nn.Module) -> nn.Module:
        classes = {**dict.fromkeys(MAPS, LoRALinear), nn.Embedding: LoRAEmbedding, Experts: LoRAExperts}
        return adapt(model, {"targets": self.targets}, classes, self.train, self.base, **self.options)
