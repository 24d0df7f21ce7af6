"""What every decoding is asked, said once: the call, what is wanted by it, and the options that all have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from components.core.options import Options
from components.core.sockets import Batch, Cache
from components.functional.laid_out import Weights

# ids (B, T) so far -> (B,) True for the rows that are over, whatever their last token is
Over = Callable[[Tensor], Tensor]
Source = int | Sequence[int | tuple[int, int]] | torch.Generator | None


@dataclass(frozen=True)
class Wanted:
    """What one call of ``Decoding.generate`` wants, by its names."""

    cache: Cache | None
    max_new_tokens: int
    stop_ids: Sequence[int] = ()
    generator: Source = None
    on_token: Callable[[Tensor], None] | None = None
    over: Over | None = None
    prefill_chunk: int | None = None

    @property
    def fill(self) -> int:
        """What stands after the end of a row that is over before others."""
        return self.stop_ids[0] if self.stop_ids else 0


class Decoding(Options, ABC):
    """What every decoding can be told.

    Args:
        weights: what the model's matrices are multiplied in while a text is written: the same numbers, bf16, or int8 with a step for each output.
    """

    weights: Weights = "same"

    def generate(
        self,
        model: Any,
        batch: Batch,
        *,
        cache: Cache | None = None,
        max_new_tokens: int,
        stop_ids: Sequence[int] = (),
        generator: Source = None,
        on_token: Callable[[Tensor], None] | None = None,
        over: Over | None = None,
        prefill_chunk: int | None = None,
    ) -> Tensor:
        """``batch.ids`` (B, T) with what was chosen after them: (B, T + new).

        Prompts of different lengths are padded on the left, with ``batch.valid`` False there. A row ends with its first stop id, or when
        ``over`` says so; it is then filled with ``stop_ids[0]`` (0 without). It ends with its last row, or after ``max_new_tokens``.
        With a cache, a prompt is read in pieces of ``prefill_chunk`` tokens, which takes less memory (not with a prefix: all of it sees itself).

        Beyond ``model.context_length``: models go on, unless one of their modules says ``bounded = True`` (a table of positions). With a cache
        a row is over there; without one they read the last ``context_length`` tokens only, counted from 0.

        Args:
            generator: of those that draw: a seed, from which each row has its own stream by its number; a seed per row, or (seed, number), so
                that a row draws the same whatever else is in the batch; a torch generator for all rows together; or None: the global one.
            on_token: is given each column (B,) once it is certain.

        Raises:
            UserError, ValueError: a prompt without a token, one that does not fit, or one that is padded on the right.
        """
        return self.written(model, batch, Wanted(cache, max_new_tokens, stop_ids, generator, on_token, over, prefill_chunk))

    @abstractmethod
    def written(self, model: Any, batch: Batch, wanted: Wanted) -> Tensor:
        """(B, T + new), as ``generate`` has it."""
