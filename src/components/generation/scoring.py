"""Scores of given texts: their log probability, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from components.core.errors import UserError
from components.core.terminal import require_text
from components.core.traits import reads_source, why_cannot_generate
from components.corpus.special_ids import first_ids, source_ids, target_start
from components.corpus.tokens import Tokens
from components.generation.generating import restrict_vocab, together
from components.parts.decoding._loop import context_limit, evaluating

ROWS = 8  # texts that are read together


@dataclass(frozen=True)
class Score:
    """``tokens`` holds (text, natural logarithm of its probability); ``log_probability`` is their sum."""

    text: str
    log_probability: float
    tokens: list[tuple[str, float]]


@torch.inference_mode()
def score(model: nn.Module, tokenizer: Tokens, texts: Sequence[str], sources: Sequence[str] | None = None) -> list[Score]:
    """The score of each text as a document. The end of the document is not counted.

    If the tokenizer puts nothing before a text, its first token has no score. An encoder-decoder reads the text's source first.

    Raises:
        UserError: the model cannot continue text, a text is too long or holds a token that the model has no row for, or the number of
            sources differs from the number of texts.
    """
    require_text("score", texts, sources)
    if reason := why_cannot_generate(model, source=sources is not None):
        raise UserError("score", f"the model continues no text: {reason}", "take a causal decoder with a head for tokens")
    if sources is not None and not reads_source(model):
        raise UserError("score", "the model reads no source", "leave the source out")
    if sources is not None and len(sources) != len(texts):
        raise UserError("score", f"{len(sources)} sources for {len(texts)} texts", "give one for each")
    begins, limit = first_ids(tokenizer) if sources is None else target_start(tokenizer, " "), context_limit(model)
    read = None if sources is None else [source_ids(tokenizer, source) for source in sources]
    rows = [[*begins, *tokenizer.encode(text)] for text in texts]
    for text, row in zip(texts, rows):
        tokenizer.need_rows(row, f"score: the text {text!r:.60}")
    for source, row in zip(sources or (), read or ()):
        tokenizer.need_rows(row, f"score: the source {source!r:.60}")
    if limit is not None and (most := max(map(len, [*rows, *(read or ())]), default=0)) > limit:
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
            batch = together([rows[i] for i in some], device, left=False)
            if read is not None:
                batch = replace(batch, source=together([read[i] for i in some], device, left=False))
            logits = restrict_vocab(model, tokenizer)(batch)
            logs = logits[:, :-1].float().log_softmax(-1).gather(2, batch.ids[:, 1:, None])[..., 0].tolist()
            for i, row in zip(some, logs):
                found[i] = [(rows[i][k], row[k - 1]) for k in range(known, len(rows[i]))]
    return [
        Score(text, sum(value for _, value in found[i]), [(tokenizer.decode([token]), value) for token, value in found[i]])
        for i, text in enumerate(texts)
    ]
