"""What the stacks have in common: their layers, each with its own makers, their positions and their two ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from components.core.flops import Flops, Work, children
from components.core.slices import resolve
from components.core.sockets import Bound, Layer, Place, SequenceInfo, make, merge_out
from components.core.traits import embeds
from components.parts.stack._positions import Positions

PER_LAYER = ("block", "attention", "cross", "ffn", "norm", "residual", "position")


class Wiring(nn.Module):
    """The modules ``layers``, ``positions``, ``residual``, ``embedding_norm`` and ``final_norm``; a stack says how the layers are passed."""

    def build(
        self,
        sizes: dict[str, Any],
        *,
        n_layers: int,
        pattern: Sequence[str],
        layers: Any,
        embedding_norm: Any,
        final_norm: Any,
        **sockets: Any,
    ) -> None:
        """``sizes``: d_model, context_length, d_memory; ``sockets``: the makers that layers have, by name."""
        d_model, context_length = sizes["d_model"], sizes["context_length"]
        own = resolve(n_layers, pattern, layers, PER_LAYER)
        positions = Positions(d_model=d_model, context_length=context_length)
        self.layers = nn.ModuleList()
        for index in range(n_layers):
            place = Place(index, n_layers)
            chosen = sockets | {k: Bound(v, where=f"model.layers.{index}.{k}") for k, v in own[index].items()}
            entry = pattern[index % len(pattern)] if pattern else "all"
            chosen["position"] = positions.shared(chosen["position"], entry=entry, index=index)
            self.layers.append(Layer(make(Bound(chosen["block"], chosen), "block", **sizes, place=place), place))
        self.positions = nn.ModuleList(positions.modules(sockets["position"]))
        self.residual = make(sockets["residual"], "residual", d_model=d_model)
        self.embedding_norm = make(embedding_norm, "norm", dim=d_model)
        self.final_norm = make(final_norm, "norm", dim=d_model)

    def enter(self, x: Tensor, info: SequenceInfo) -> Tensor:
        """Positions added to the embedding, each kind of position once, then normed."""
        for position in self.positions:
            if embeds(position):
                x = position.embed(x, info)
        return self.embedding_norm(x)

    def leave(self, s: Tensor) -> Tensor:
        """The stream (as the residual keeps it) -> what the head reads (B, T, D)."""
        return self.final_norm(self.residual.close(s))

    def flops(self, work: Work) -> Flops:
        return children(self, work, leave=("positions",))  # attention counts what it asks of its position


def passed(
    layer: nn.Module, s: Tensor, info: SequenceInfo, total: dict[str, Any]
) -> tuple[Tensor, SequenceInfo, dict[str, Any]]:
    """The stream after ``layer``, the info with what it wrote for later layers, and ``total`` with that added."""
    s, out = layer(s, info)
    if out:
        total = merge_out(total, out)
        info = info.with_(carry={**info.carry, **out})
    return s, info, total
