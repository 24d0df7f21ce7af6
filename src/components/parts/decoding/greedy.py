"""The text that is likeliest step by step, which need not be the likeliest as a whole."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from components.core.registry import register
from components.core.sockets import Batch
from components.parts.decoding._decoding import Decoding, Wanted
from components.parts.decoding._loop import continue_


@register("decoding", "greedy")
class Greedy(Decoding):
    """Greedy: always the likeliest token, so that the same prompt always gives the same text."""

    def written(self, model: Any, batch: Batch, wanted: Wanted) -> Tensor:
        return continue_(model, batch, wanted, lambda logits, _ids, _n: logits.argmax(-1), self.weights)
