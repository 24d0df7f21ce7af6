"""Looped layers: the same layers are passed several times, so that depth costs no parameters.

Dehghani et al. 2018 (Universal Transformers), arXiv:1807.03819; Geiping et al. 2025 (prelude, loop, coda; injection), arXiv:2502.05171
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from components.core.flops import Flops, Work, children, flops_of
from components.core.registry import register
from components.core.signature import Depth, NonNegative, Slices
from components.core.sockets import Maker, SequenceInfo
from components.parts.stack._building import Wiring, passed


@register("stack", "looped")
class Looped(Wiring):
    """Looped layers: after the prelude the layers of the loop are passed several times, then the coda once.

    Args:
        n_layers: null: as many as the model says.
        pattern: names that repeat over the depth, for ``layers`` to address; without any, the model's.
        layers: {which: {socket: maker}}, parts of their own for some layers; later ones win. null: the model's.
        block: order of norms and branches.
        attention: of every layer.
        cross: of every layer, where there is a memory.
        ffn: of every layer.
        norm: of every block.
        residual: of every branch; it also opens and closes the stream.
        position: one module per entry of the pattern (or as the part's ``share`` says).
        embedding_norm: after the positions were added, before the first layer.
        final_norm: after the last layer.
        loops: how often the loop is passed.
        prelude: number of layers before the loop.
        coda: number of layers after the loop.
        inject: add the stream as it entered the loop again, before every pass but the first.

    Shapes: ``enter`` (B, T, D) -> (B, T, D); ``forward`` (B, T, D) -> ((B, T, D), what the layers wrote out).

    Errors: ValueError if prelude and coda leave no layer to loop.
    """

    per_layer = ("block", "attention", "cross", "ffn", "norm", "residual", "position")

    def __init__(
        self,
        d_model: int,
        context_length: int,
        depth: int = 1,
        entries: Sequence[str] = (),
        slices: Any = None,
        d_memory: int | None = None,
        *,
        n_layers: Depth | None = None,
        pattern: tuple[str, ...] = (),
        layers: Slices = None,
        block: Maker["block"] = "inherit",
        attention: Maker["attention"] = "inherit",
        cross: Maker["attention"] = "inherit",
        ffn: Maker["ffn"] = "inherit",
        norm: Maker["norm"] = "inherit",
        residual: Maker["residual"] = "inherit",
        position: Maker["position"] = "inherit",
        embedding_norm: Maker["norm"] = "inherit",
        final_norm: Maker["norm"] = "inherit",
        loops: Depth = 2,
        prelude: NonNegative = 0,
        coda: NonNegative = 0,
        inject: bool = False,
    ) -> None:
        super().__init__()
        count = depth if n_layers is None else n_layers
        self.build(
            {"d_model": d_model, "context_length": context_length, "d_memory": d_memory},
            n_layers=count,
            pattern=pattern or entries,
            layers=slices if layers is None else layers,
            embedding_norm=embedding_norm,
            final_norm=final_norm,
            block=block,
            attention=attention,
            cross=cross,
            ffn=ffn,
            norm=norm,
            residual=residual,
            position=position,
        )
        if prelude + coda >= count:
            raise ValueError(
                f"prelude={prelude} and coda={coda} leave none of the {count} layers to loop; choose fewer, or n_layers larger"
            )
        self.loops, self.prelude, self.coda, self.inject = loops, prelude, coda, inject

    def looping(self) -> list[nn.Module]:
        layers = list(self.layers)
        return layers[self.prelude : len(layers) - self.coda]

    def flops(self, work: Work) -> Flops:
        again = [flops_of(layer, work).times(self.loops - 1) for layer in self.looping()]
        return sum(again, children(self, work, leave=("positions",)))

    def forward(self, x: Tensor, info: SequenceInfo) -> tuple[Tensor, dict[str, Any]]:
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
