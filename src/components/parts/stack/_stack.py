"""What the stacks have in common: their layers, each with its own makers, their positions and their two ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from components.core.abilities import OpensStream
from components.core.flops import Flops, Work, children
from components.core.options import Options
from components.core.signature import Depth, Slices
from components.core.slices import resolve
from components.core.sockets import Layer, Maker, Place, ScopedMaker, SequenceInfo, make, merge_out
from components.core.traits import embeds
from components.parts.stack._positions import Positions

Out: TypeAlias = dict[str, Any]  # what layers wrote besides the stream, by name


class Stack(Options, nn.Module):
    """The layers of one side, their positions, and the two ends of the stream. A stack says how the layers are passed (``forward``).

    Args:
        d_model: width of the stream.
        context_length: longest sequence.
        depth: number of layers that the model has.
        entries: the model's pattern.
        slices: the model's parts for some layers.
        d_memory: width of an encoder's memory, where there is one.
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
        self.d_model = d_model
        count = depth if n_layers is None else n_layers
        entries = pattern or entries
        own = resolve(count, entries, slices if layers is None else layers, self.per_layer)
        sizes = {"d_model": d_model, "context_length": context_length, "d_memory": d_memory}
        sockets = {"block": block, "attention": attention, "cross": cross, "ffn": ffn, "norm": norm, "residual": residual}
        positions = Positions(d_model=d_model, context_length=context_length)
        self.layers = nn.ModuleList()
        for index in range(count):
            place = Place(index, count)
            chosen = {**sockets, "position": position}
            chosen |= {k: ScopedMaker(v, where=f"model.layers.{index}.{k}") for k, v in own[index].items()}
            entry = entries[index % len(entries)] if entries else "all"
            chosen["position"] = positions.shared(chosen["position"], entry=entry, index=index)
            self.layers.append(Layer(make(ScopedMaker(chosen["block"], chosen), "block", **sizes, place=place), place))
        self.positions = nn.ModuleList(positions.modules(position))
        self.residual = make(residual, "residual", d_model=d_model)
        self._need_one_stream()
        self.embedding_norm = make(embedding_norm, "norm", dim=d_model)
        self.final_norm = make(final_norm, "norm", dim=d_model)
        self.join()

    def _need_one_stream(self) -> None:
        """ValueError where a layer's residual keeps another stream than the stack opens: at some lengths it would run, and mix positions with streams."""
        x = torch.empty(1, 1, self.d_model)
        opened = self.residual.open(x).shape
        for index, layer in enumerate(self.layers):
            block: nn.Module = layer.block  # type: ignore[assignment]  # a module list is typed as one of any modules
            for part in block.children():
                if isinstance(part, OpensStream) and (own := part.open(x).shape) != opened:
                    lies, other = (f"(batch, length, {', '.join(map(str, s[2:]))})" for s in (own, opened))
                    raise ValueError(
                        f"the residual of layer {index} keeps a stream {lies}, and that of the stack {other}; give both the same residual"
                    )

    def join(self) -> None:
        """What a stack has besides its layers, made when they are there. ValueError where its options do not fit them."""

    def beside(self) -> list[nn.Module]:
        """Parts that the stack itself calls between the layers, which may look at what the embedding wrote of all positions."""
        return []

    def enter(self, x: Tensor, info: SequenceInfo) -> Tensor:
        """Positions added to the embedding, each kind of position once, then normed."""
        position: Any
        for position in self.positions:
            if embeds(position):
                x = position.embed(x, info)
        return self.embedding_norm(x)

    def leave(self, s: Tensor) -> Tensor:
        """The stream (as the residual keeps it) -> what the head reads (B, T, D)."""
        return self.final_norm(self.residual.close(s))

    def flops(self, work: Work) -> Flops:
        return children(self, work, leave=("positions",))  # attention counts what it asks of its position


def passed(layer: nn.Module, s: Tensor, info: SequenceInfo, total: Out) -> tuple[Tensor, SequenceInfo, Out]:
    """The stream after ``layer``, the info with what it wrote for later layers, and ``total`` with that added."""
    s, out = layer(s, info)
    if out:
        total = merge_out(total, out)
        info = info.with_(carry={**info.carry, **out})
    return s, info, total
