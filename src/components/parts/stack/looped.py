"""Depth costs no parameters.

Dehghani et al. 2018 (Universal Transformers), arXiv:1807.03819; Geiping et al. 2025 (prelude, loop, coda; injection), arXiv:2502.05171
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from components.core.flops import Flops, Work, children, flops_of
from components.core.registry import register
from components.core.signature import Depth, NonNegative
from components.core.sockets import SequenceInfo, info_of
from components.parts.stack._stack import Stack, passed


@register("stack", "looped")
class Looped(Stack):
    """Looped layers: after the prelude the layers of the loop are passed several times, then the coda once.

    Args:
        loops: how often the loop is passed.
        prelude: number of layers before the loop.
        coda: number of layers after the loop.
        inject: add the stream as it entered the loop again, before every pass but the first.


    Errors: ValueError if prelude and coda leave no layer to loop.
    """

    loops: Depth = 2
    prelude: NonNegative = 0
    coda: NonNegative = 0
    inject: bool = False

    def join(self) -> None:
        if self.prelude + self.coda >= len(self.layers):
            raise ValueError(
                f"prelude={self.prelude} and coda={self.coda} leave none of the {len(self.layers)} layers to loop; "
                "choose fewer, or n_layers larger"
            )

    def looping(self) -> list[nn.Module]:
        layers = list(self.layers)
        return layers[self.prelude : len(layers) - self.coda]

    def flops(self, work: Work) -> Flops:
        again = [flops_of(layer, work).times(self.loops - 1) for layer in self.looping()]
        return sum(again, children(self, work, leave=("positions",)))

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> tuple[Tensor, dict[str, Any]]:
        info = info_of(x, info)
        s, total = self.residual.open(x), {}
        layers, end = list(self.layers), len(self.layers) - self.coda
        for layer in layers[: self.prelude]:
            s, info, total = passed(layer, s, info, total)
        entered = s
        for visit in range(self.loops):
            if visit and self.inject:
                s = s + entered
            info = info.with_(visit=visit)
            for layer in layers[self.prelude : end]:
                s, info, total = passed(layer, s, info, total)
        info = info.with_(visit=0)
        for layer in layers[end:]:
            s, info, total = passed(layer, s, info, total)
        return self.leave(s), total
