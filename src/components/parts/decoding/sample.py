"""A text is drawn token by token from the distribution that the model and its samplers define."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.registry import register
from components.core.sockets import Batch, Makers, make_all
from components.core.weights import generator_for
from components.functional.precision import widest
from components.parts.decoding._decoding import Decoding, Source, Wanted
from components.parts.decoding._loop import continue_


@register("decoding", "sample")
class Sample(Decoding):
    """Sample: draw each token from the model's distribution, as the samplers shape it.

    Args:
        samplers: what shapes the logits, applied in this order.
    """

    def __init__(
        self,
        *,
        samplers: Makers["sampler"] = ({"name": "temperature", "value": 0.8}, {"name": "top_k", "k": 50}),
    ) -> None:
        self.samplers = make_all(samplers, "sampler")

    def written(self, model: Any, batch: Batch, wanted: Wanted) -> Tensor:
        draws = Uniforms(batch.ids.shape[0], wanted.generator)
        valid = None if batch.valid is None else F.pad(batch.valid, (0, wanted.max_new_tokens), value=True)

        def choose(logits: Tensor, ids: Tensor, n: int) -> Tensor:
            logits = logits.float()
            known = None if valid is None else valid[:, : ids.shape[1]]
            for sampler in self.samplers:
                logits = sampler(logits, ids, known)
            return draw(logits, draws(n).to(logits.device))

        return continue_(model, batch, wanted, choose, self.weights)


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """The token at which the running sum of probabilities passes ``uniform`` (B,), in [0, 1) and of 24 bits: never one of probability 0."""
    wide = widest(logits.device)
    total = logits.softmax(-1, dtype=wide).cumsum(-1)
    passed = total > uniform.to(wide)[:, None] * total[:, -1:]
    return passed.int().argmax(-1)  # the first of equal ones


def streams(rows: int, source: Source) -> list[torch.Generator | None]:
    """A generator for each row, or one for all rows."""
    if isinstance(source, int):
        return [generator_for(source, f"row {i}") for i in range(rows)]
    if source is None or isinstance(source, torch.Generator):
        return [source]
    if len(source) != rows:
        raise ValueError(f"{len(source)} seeds for {rows} rows")
    pairs = [(seed, 0) if isinstance(seed, int) else seed for seed in source]
    return [generator_for(seed, f"row {number}") for seed, number in pairs]


class Uniforms:
    """A number in [0, 1) for each row and step. Drawn in blocks, since a call per row and token would cost more than the choice."""

    BLOCK = 64

    def __init__(self, rows: int, source: Source) -> None:
        self.rows, self.generators = rows, streams(rows, source)
        self.block = torch.empty(0)

    def __call__(self, n: int) -> Tensor:
        if n % self.BLOCK == 0:
            together = self.rows if len(self.generators) == 1 else 1
            self.block = torch.cat([self._draw(g, together) for g in self.generators], 1)
        return self.block[n % self.BLOCK]

    def _draw(self, generator: torch.Generator | None, rows: int) -> Tensor:
        device = "cpu" if generator is None else generator.device
        return torch.rand(self.BLOCK, rows, generator=generator, device=device, dtype=torch.float32)  # whatever the default is
