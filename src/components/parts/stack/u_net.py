"""U-net of layers: what the first half wrote is added again, weighted, before the layers of the second half, last first.

Ronneberger et al. 2015, arXiv:1505.04597; for language models: Jordan et al. 2024, https://github.com/KellerJordan/modded-nanogpt
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Depth, Slices
from components.core.sockets import Maker, SequenceInfo
from components.parts.stack._building import Wiring, passed


@register("stack", "u_net")
class UNet(Wiring):
    """U-net of layers: before layer L-1-i, the stream as layer i left it is added with a learned weight, for every i below L/2.

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
        initial: first value of every weight.

    Shapes: ``enter`` (B, T, D) -> (B, T, D); ``forward`` (B, T, D) -> ((B, T, D), what the layers wrote out).
    """

    per_layer = ("block", "attention", "cross", "ffn", "norm", "residual", "position")
    axes = {"skips": ("one",)}

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
        initial: float = 1.0,
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
        self.initial = initial
        if count > 1:
            self.skips = nn.Parameter(torch.empty(count // 2))
            self.reset_parameters()

    def reset_parameters(self) -> None:
        for skips in self.parameters(recurse=False):
            nn.init.constant_(skips, self.initial)

    def forward(self, x: Tensor, info: SequenceInfo) -> tuple[Tensor, dict[str, Any]]:
        s, total = self.residual.open(x), {}
        kept: list[Tensor] = []
        half, last = len(self.layers) // 2, len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            if last - index < half:
                s = s + self.skips[last - index].to(s.dtype) * kept.pop()
            s, info, total = passed(layer, s, info, total)
            if index < half:
                kept.append(s)
        return self.leave(s), total
