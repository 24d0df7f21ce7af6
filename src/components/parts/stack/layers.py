"""Layers in sequence: the plain wiring, in which every layer may have parts of its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from components.core.registry import register
from components.core.sockets import SequenceInfo, info_of
from components.parts.stack._stack import Stack, passed


@register("stack", "layers")
class Layers(Stack):
    """Layers in sequence; the stack owns the positions, opens and closes the stream, and norms what comes out."""

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> tuple[Tensor, dict[str, Any]]:
        info = info_of(x, info)
        s, total = self.residual.open(x), {}
        for layer in self.layers:
            s, info, total = passed(layer, s, info, total)
        return self.leave(s), total
