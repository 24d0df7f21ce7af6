"""Answers drawn from a model's own distribution, token by token, as reinforcement learning wants them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from components.core.config_types import Config
from components.corpus.tokens import Tokens
from components.generation.generating import continue_ids
from components.parts.decoding._loop import context_limit

UNSHAPED = {"name": "sample", "samplers": []}  # whatever else a run decodes by: a sampler would draw from another distribution


def draw_answers(
    model: nn.Module,
    tokenizer: Tokens,
    config: Config,
    prompts: list[list[int]],
    *,
    seeds: Sequence[tuple[int, int]],
    ends: Sequence[int],
    max_new_tokens: int,
) -> list[list[int]]:
    """The ids that follow each prompt, with the one that ends them if it came in time. What is drawn depends on the row's seed and number alone.

    Of a model that cannot read beyond its context, an answer stops there.
    """
    drawn: list[Tensor] = []
    continue_ids(
        model,
        tokenizer,
        {**config, "decoding": UNSHAPED},
        prompts,
        seeds=seeds,
        ends=ends,
        max_new_tokens=max_new_tokens,
        on_token=drawn.append,
    )
    limit = context_limit(model)
    rooms = [max_new_tokens if limit is None else limit + 1 - len(prompt) for prompt in prompts]
    return [up_to_end(row[:room], ends) for row, room in zip(torch.stack(drawn, 1).tolist(), rooms)]


def up_to_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    """``ids`` up to the first that is in ``ends``, which is kept."""
    return ids[: next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))]
