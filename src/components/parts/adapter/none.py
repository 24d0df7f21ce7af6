"""Training from scratch and full fine-tuning change the weights themselves."""

from __future__ import annotations

from torch import nn

from components.core.registry import register


@register("adapter", "none")
class NoAdapter:
    """No adapter: every weight is trained itself."""

    def __init__(self) -> None:
        pass

    def apply(self, model: nn.Module) -> nn.Module:
        return model
