"""Layers in sequence: the plain wiring, in which every layer may have parts of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from components.flops import Flops, Work, children
from components.registry import register
from components.signature import Positive, Slices
from components.slices import resolve
from components.sockets import Bound, Layer, Maker, Place, SequenceInfo, make, merge_out
from components.stack._positions import Positions


@register("stack", "layers")
class Layers(nn.Module):
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
        n_layers: Positive | None = None,
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
        pattern, layers = pattern or entries, slices if layers is None else layers
        base: dict[str, Any] = {
            "block": block,
            "attention": attention,
            "cross": cross,
            "ffn": ffn,
            "norm": norm,
            "residual": residual,
            "position": position,
        }
        own = resolve(count, pattern, layers, list(base))
        positions = Positions(d_model=d_model, context_length=context_length)
        self.layers = nn.ModuleList()
        for index in range(count):
            place = Place(index, count)
            sockets = base | {k: Bound(v, where=f"model.layers.{index}.{k}") for k, v in own[index].items()}
            sockets["position"] = positions.shared(sockets["position"], entry=_entry(pattern, index), index=index)
            made = make(
                Bound(sockets["block"], sockets),
                "block",
                d_model=d_model,
                context_length=context_length,
                place=place,
                d_memory=d_memory,
            )
            self.layers.append(Layer(made, place))
        self.positions = nn.ModuleList(positions.modules(position))
        self.residual = make(residual, "residual", d_model=d_model)
        self.embedding_norm = make(embedding_norm, "norm", dim=d_model)
        self.final_norm = make(final_norm, "norm", dim=d_model)

    def enter(self, x: Tensor, info: SequenceInfo) -> Tensor:
        """Positions added to the embedding, each kind of position once, then normed."""
        for position in self.positions:
            if hasattr(position, "embed"):
                x = position.embed(x, info)
        return self.embedding_norm(x)

    def flops(self, work: Work) -> Flops:
        return children(self, work, leave=("positions",))  # attention counts what it asks of its position

    def forward(self, x: Tensor, info: SequenceInfo) -> tuple[Tensor, dict[str, Any]]:
        s = self.residual.open(x)
        total: dict[str, Any] = {}
        for layer in self.layers:
            s, out = layer(s, info)
            if out:
                total = merge_out(total, out)
                info = info.with_(carry={**info.carry, **out})
        return self.final_norm(self.residual.close(s)), total


def _entry(pattern: Sequence[str], index: int) -> str:
    return pattern[index % len(pattern)] if pattern else "all"
