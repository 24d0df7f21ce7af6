"""Scores of given texts: how likely a model finds them, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from components.decoding._loop import context_limit, evaluating
from components.errors import UserError
from components.sockets import Batch
from components.task.generating import first_ids, speaker
from components.task.objectives import silent_reason

ROWS = 8  # texts that are read together


@dataclass(frozen=True)
class Score:
    """``log_probability``: the sum of those of ``tokens``, (text, natural logarithm of the probability) each."""

    text: str
    log_probability: float
    tokens: list[tuple[str, float]]


@torch.inference_mode()
def score(model: Any, tokenizer: Any, texts: Sequence[str]) -> list[Score]:
    """How likely the model finds each text after what begins a document; that it ends there is not counted.

    Where the tokenizer puts nothing before a text, its first token has no score.

    Raises:
        UserError: the model continues no text, or a text is longer than it can read.
    """
    if reason := silent_reason(model):
        raise UserError("score", f"the model continues no text: {reason}", "take a causal decoder with a head for tokens")
    begins, limit = first_ids(tokenizer), context_limit(model)
    rows = [[*begins, *tokenizer.encode(text)] for text in texts]
    if limit is not None and (most := max(map(len, rows), default=0)) > limit:
        raise UserError("score", f"{most} tokens do not fit into the model's context of {limit}", "cut the text")
    device, known = next(model.parameters()).device, max(len(begins), 1)
    found: dict[int, list[tuple[int, float]]] = {}
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    with evaluating(model):
        for at in range(0, len(order), ROWS):
            some = order[at : at + ROWS]
            width = max(len(rows[i]) for i in some)
            if width == 0:
                found |= {i: [] for i in some}
                continue
            ids = torch.tensor([rows[i] + [0] * (width - len(rows[i])) for i in some], device=device)
            valid = torch.tensor([[True] * len(rows[i]) + [False] * (width - len(rows[i])) for i in some], device=device)
            logits = speaker(model, tokenizer)(Batch(ids, valid=None if bool(valid.all()) else valid))
            logs = logits[:, :-1].float().log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0].tolist()
            for i, row in zip(some, logs):
                found[i] = [(rows[i][k], row[k - 1]) for k in range(known, len(rows[i]))]
    return [
        Score(text, sum(value for _, value in found[i]), [(tokenizer.decode([token]), value) for token, value in found[i]])
        for i, text in enumerate(texts)
    ]
