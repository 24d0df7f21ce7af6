"""After a layer, the stream becomes a learned weighted sum of the embedding and of what all layers so far wrote.

Pagliardini et al. 2024 (DenseFormer), arXiv:2402.02622, section 3
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo, info_of
from components.core.weights import copy_full
from components.parts.stack._stack import Stack, passed


@register("stack", "dense")
class Dense(Stack):
    """Dense depth: every ``period``-th layer is followed by a learned weighted sum over the outputs of all layers so far.

    Args:
        period: sum after every so many layers.
        dilation: sum over every so many outputs, counted back from the newest.

    Shapes: ``enter`` (B, T, D) -> (B, T, D); ``forward`` (B, T, D) -> ((B, T, D), what the layers wrote out). At first every sum is its newest term alone.
    """

    axes = {"mixing": ("one",)}

    period: Positive = 1
    dilation: Positive = 1

    def join(self) -> None:
        # layer -> which outputs are summed after it, oldest first; output 0 is the embedding, i + 1 what layer i wrote
        summed = range(self.period - 1, len(self.layers), self.period)
        self.sources = {i: list(range((i + 1) % self.dilation, i + 2, self.dilation)) for i in summed}
        self.mixing = nn.Parameter(torch.empty(sum(len(v) for v in self.sources.values())))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        newest = [float(source == layer + 1) for layer, sources in self.sources.items() for source in sources]
        copy_full(self.mixing, torch.tensor(newest, device="cpu"))  # a shard of it knows no place in the whole

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> tuple[Tensor, dict[str, Any]]:
        info = info_of(x, info)
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
