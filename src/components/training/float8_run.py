"""A run of fp8-mixed as Lightning has precisions: autocast to bf16 of a model whose maps of layers are torchao's (``float8.py``)."""

from __future__ import annotations

from typing import Literal

from lightning.pytorch.plugins import MixedPrecision
from torch import nn

from components.training.float8 import multiply_in_float8


class Float8(MixedPrecision):
    """Lightning's bf16-mixed, under which the linear maps of layers are fp8.

    Args:
        device: kind of the device that autocast is for.
    """

    def __init__(self, device: Literal["cpu", "cuda"]) -> None:
        super().__init__("bf16-mixed", device)

    def convert_module(self, module: nn.Module) -> nn.Module:
        multiply_in_float8(module)
        return module
