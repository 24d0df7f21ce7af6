"""The text that is likeliest step by step, which need not be the likeliest as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from components.core.registry import register
from components.core.sockets import Batch, Cache
from components.parts.decoding._loop import Decoding, Over, continue_


@register("decoding", "greedy")
class Greedy(Decoding):
    """Greedy: always the likeliest token, so that the same prompt always gives the same text."""

    def generate(
        self,
        model: Any,
        batch: Batch,
        *,
        cache: Cache | None = None,
        max_new_tokens: int,
        stop_ids: Sequence[int] = (),
        generator: Any = None,  # noqa: ARG002  nothing is drawn
        on_token: Callable[[Tensor], None] | None = None,
        over: Over | None = None,
        prefill_chunk: int | None = None,
    ) -> Tensor:
        """(B, T + new): see ``continue_``, where padding, stops and the end of the context are said."""
        return continue_(
            model,
            batch,
            lambda logits, _ids, _n: logits.argmax(-1),
            cache=cache,
            max_new_tokens=max_new_tokens,
            stop_ids=stop_ids,
            on_token=on_token,
            over=over,
            prefill_chunk=prefill_chunk,
            weights=self.weights,
        )
