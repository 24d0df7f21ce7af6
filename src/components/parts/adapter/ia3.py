"""Keys, values and what goes into the second map of an FFN are scaled by trained vectors.

Liu et al. 2022, arXiv:2205.05638, section 3.3
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.weights import Weight
from components.functional.linear import MAPS
from components.functional.quantised_tensor import linear
from components.parts.adapter._adapted import Adapted, adapt, add, ones
from components.parts.adapter._base import OverBase


@register("adapter", "ia3")
class IA3(OverBase):
    """(IA)³: one number for each output, or each input, of the linear maps that match; everything else is frozen.

    Args:
        outputs: patterns over paths of linear maps whose outputs are scaled.
        inputs: patterns over paths of linear maps whose inputs are scaled.
        train: patterns over paths of modules or names of parameters that are trained themselves: ``*norm*``, ``head``.
    """

    def __init__(
        self,
        *,
        outputs: tuple[str, ...] = ("*.attention.k", "*.attention.v"),
        inputs: tuple[str, ...] = ("*.ffn.out",),
        train: tuple[str, ...] = (),
    ) -> None:
        self.targets, self.train = {"outputs": list(outputs), "inputs": list(inputs)}, list(train)

    def apply(self, model: nn.Module) -> nn.Module:
        return adapt(model, self.targets, dict.fromkeys(MAPS, IA3Linear), self.train, self.base)


class IA3Linear(Adapted, nn.Linear):
    """ia3 * (W x + b), or W (ia3 * x) + b."""

    ia3: nn.Parameter
    on_output: bool

    def put(self, axes: tuple[str, ...], option: str, **options: Any) -> None:
        del options
        self.on_output = option == "outputs"
        add(self, "ia3", (self.weight.shape[0 if self.on_output else 1],), axes[-1:] if self.on_output else axes[:1])

    def first_value(self, name: str, weight: Weight, generator: torch.Generator) -> Tensor:
        del name
        return ones(weight, generator)

    def forward(self, input: Tensor) -> Tensor:
        if self.on_output:
            y = linear(input, self.weight, self.bias)
            return y * self.ia3.to(y.dtype)
        return linear(input * self.ia3.to(input.dtype), self.weight, self.bias)

    def effective_weight(self) -> Tensor:
        return self.weight * (self.ia3[:, None] if self.on_output else self.ia3)

    def effective_bias(self) -> Tensor | None:
        return self.bias * self.ia3 if self.on_output and self.bias is not None else self.bias
