"""Layers in sequence: the plain wiring, in which every layer may have parts of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from components.core.registry import register
from components.core.signature import Depth, Slices
from components.core.sockets import Maker, SequenceInfo
from components.parts.stack._building import Wiring, passed


@register("stack", "layers")
class Layers(Wiring):
    """Layers in sequence; the stack owns the positions, opens and closes the stream, and norms what comes out.

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

    Shapes: ``enter`` (B, T, D) -> (B, T, D); ``forward`` (B, T, D) -> ((B, T, D), what the layers wrote out).
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

    def forward(self, x: Tensor, info: SequenceInfo) -> tuple[Tensor, dict[str, Any]]:
        s, total = self.residual.open(x), {}
        for layer in self.layers:
            s, info, total = passed(layer, s, info, total)
        return self.leave(s), total
