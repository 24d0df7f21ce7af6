"""Dense depth: after a layer, the stream becomes a learned weighted sum of the embedding and of what all layers so far wrote.

Pagliardini et al. 2024 (DenseFormer), arXiv:2402.02622, section 3
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Depth, Positive, Slices
from components.core.sockets import Maker, SequenceInfo
from components.core.weights import copy_full
from components.parts.stack._building import Wiring, passed


@register("stack", "dense")
class Dense(Wiring):
    """Dense depth: every ``period``-th layer is followed by a learned weighted sum over the outputs of all layers so far.

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
        period: sum after every so many layers.
        dilation: sum over every so many outputs, counted back from the newest.

    Shapes: ``enter`` (B, T, D) -> (B, T, D); ``forward`` (B, T, D) -> ((B, T, D), what the layers wrote out). At first every sum is its newest term alone.
    """

    per_layer = ("block", "attention", "cross", "ffn", "norm", "residual", "position")
    axes = {"mixing": ("one",)}

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
        period: Positive = 1,
        dilation: Positive = 1,
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
        # layer -> which outputs are summed after it, oldest first; output 0 is the embedding, i + 1 what layer i wrote
        summed = range(period - 1, count, period)
        self.sources = {i: list(range((i + 1) % dilation, i + 2, dilation)) for i in summed}
        self.mixing = nn.Parameter(torch.empty(sum(len(v) for v in self.sources.values())))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        newest = [float(source == layer + 1) for layer, sources in self.sources.items() for source in sources]
        copy_full(self.mixing, torch.tensor(newest, device="cpu"))  # a shard of it knows no place in the whole

    def forward(self, x: Tensor, info: SequenceInfo) -> tuple[Tensor, dict[str, Any]]:
        s, total = self.residual.open(x), {}
        outputs = [s]  # of the embedding, then of each layer, before they are summed
        weights = dict(zip(self.sources, self.mixing.split([len(v) for v in self.sources.values()]), strict=True))
        for index, layer in enumerate(self.layers):
            s, info, total = passed(layer, s, info, total)
            outputs.append(s)
            if index in weights:
                own = weights[index].to(s.dtype)
                s = own[0] * outputs[self.sources[index][0]]
                for weight, source in zip(own[1:], self.sources[index][1:], strict=True):
                    s = torch.addcmul(s, weight, outputs[source])
        return self.leave(s), total
