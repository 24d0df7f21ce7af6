"""What the explained pass reads: the prompt, then what the model wrote after it, so that one pass shows every step of the writing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from components.core.errors import UserError
from components.core.makers import make
from components.core.sockets import Batch
from components.core.traits import lacking, number_reader, provides, reads_source, why_cannot_generate
from components.corpus.special_ids import first_ids, source_ids, stop_ids, target_start
from components.explain.subject import Subject
from components.explain.tokens import Words, masked, numbers
from components.generation.generating import continue_ids
from components.parts.decoding._loop import context_limit

MOST = 4096  # tokens of a prompt


@dataclass
class Asked:
    """Args:
    batch: the row that the explained pass reads.
    words: how ids are shown.
    given: leading tokens of the row that the model did not write.
    begins: how many of them stand before every text.
    writes: whether the model continues texts.
    why_not: why it does not.
    seed: of what was drawn.
    ended: whether the model ended the text itself.
    notes: what a reader should know.
    output_kind: "tokens", "classes" or "amounts"; the last two speak of the whole input.
    numbers: of each position as they were given, where the model reads numbers.
    """

    batch: Batch
    words: Words
    given: int
    begins: int = 0
    writes: bool = False
    why_not: str = ""
    seed: int = 0
    ended: bool = False
    notes: list[str] = field(default_factory=list)
    output_kind: str = "tokens"
    numbers: list[list[float]] | None = None

    @property
    def ids(self) -> list[int]:
        return self.batch.ids[0].tolist()


def ask(subject: Subject, prompt: str, *, new_tokens: int, seed: int) -> Asked:
    """The row that is explained. A causal model reads what it wrote after the prompt, an encoder-decoder what it wrote from the source.

    Raises:
        UserError: the model cannot read the prompt.
    """
    model, tokenizer = subject.model, subject.tokenizer
    output_kind = output_kind_of(model)
    if width := width_of_values(model):
        return _numbers(subject, prompt, width, output_kind, seed)
    if output_kind != "tokens":
        ids = _readable(tokenizer, source_ids(tokenizer, prompt))
        begins = len(ids) - len(tokenizer.encode(prompt)) - len(tokenizer.closes)
        why = f"it gives {output_kind}, no text"
        return Asked(
            Batch(torch.tensor([ids])),
            Words(tokenizer),
            len(ids),
            max(0, begins),
            why_not=why,
            seed=seed,
            output_kind=output_kind,
        )
    source = reads_source(model)
    why_not = why_cannot_generate(model, source=source)
    if source:
        sources, start = _readable(tokenizer, source_ids(tokenizer, prompt)), target_start(tokenizer)
        return _written(subject, start, len(start), new_tokens, seed, sources=sources)
    begins = first_ids(tokenizer)
    loss = _loss(subject)
    names = {loss.mask_id: "<mask>"} if loss is not None and loss.mask_id is not None else {}
    ids = [*begins, *masked(tokenizer, prompt, next(iter(names), None))]
    if lacking(model, "causal"):  # an encoder reads what stands after a text too
        ids += tokenizer.closes
    if not ids:
        ids = [tokenizer.specials.get("bos", tokenizer.specials.get("endoftext", 0))]
    _readable(tokenizer, [i for i in ids if i not in names])
    if why_not:
        words = Words(tokenizer, names)
        return Asked(Batch(torch.tensor([ids])), words, len(ids), len(begins), why_not=why_not, seed=seed)
    return _written(subject, ids, len(begins), new_tokens, seed)


def _readable(tokenizer: Any, ids: list[int]) -> list[int]:
    """``ids``. UserError unless the model has a row for each, and they are few enough to be explained one by one."""
    if len(ids) > MOST:
        raise UserError(
            "--prompt", f"it has {len(ids):,} tokens, and each is explained with every other", f"give at most {MOST:,}"
        )
    tokenizer.need_rows(ids, "--prompt")
    return ids


def output_kind_of(model: nn.Module) -> str:
    """ "tokens", "classes" or "amounts", by what the head provides."""
    return next((word for word in ("classes", "amounts") if any(provides(m, word) for m in model.children())), "tokens")


def width_of_values(model: nn.Module) -> int:
    """How many numbers each position has, where the model reads numbers instead of ids; else 0."""
    found = number_reader(model)
    return 0 if found is None else int(found.d_in)


def _numbers(subject: Subject, prompt: str, width: int, output_kind: str, seed: int) -> Asked:
    """A row of numbers, scaled as the data scale theirs."""
    given = numbers(prompt, width)
    node = subject.config.get("data") or {}
    less, by = (_each(node.get(name), width, default) for name, default in (("subtract", 0.0), ("divide_by", 1.0)))
    as_given = [given[i : i + width] for i in range(0, len(given), width)]
    rows = [[(x - a) / b for x, a, b in zip(given[i : i + width], less, by)] for i in range(0, len(given), width)]
    texts = [" ".join(f"{x:g}" for x in given[i : i + width]) for i in range(0, len(given), width)]
    ids = torch.zeros(1, len(rows), dtype=torch.long)
    words = Words(None, {0: texts[0] if len(texts) == 1 else "numbers"})
    asked = Asked(
        Batch(ids, values=torch.tensor([rows])),
        words,
        len(rows),
        why_not=f"it gives {output_kind}, no text",
        seed=seed,
        output_kind=output_kind,
    )
    asked.numbers = as_given
    if [x for row in rows for x in row] != given:
        asked.notes.append(
            "The numbers are scaled as the config's data scale theirs, (number - subtract) / divide_by, before the model reads them."
        )
    return asked


def _each(value: float | Sequence[float] | None, width: int, default: float) -> list[float]:
    """An option of the data as one number for each column; ``default`` where it does not fit."""
    given = () if value is None else (value,) if isinstance(value, (int, float)) else value
    found = [float(v) for v in given]
    return found * width if len(found) == 1 else found if len(found) == width else [default] * width


def _written(
    subject: Subject, ids: list[int], begins: int, new_tokens: int, seed: int, *, sources: list[int] | None = None
) -> Asked:
    """The row with what the model writes after ``ids``."""
    model, tokenizer, notes = subject.model, subject.tokenizer, []
    limit = context_limit(model)
    if limit is not None and len(ids) + new_tokens > limit:
        new_tokens = max(0, limit - len(ids))
        notes.append(f"The model reads at most {limit} tokens, so it wrote at most {new_tokens} after the prompt.")
    new: list[int] = []
    if new_tokens:
        (new,) = continue_ids(
            model,
            tokenizer,
            subject.config,
            [ids],
            seeds=[(seed, 0)],
            ends=stop_ids(tokenizer),
            max_new_tokens=new_tokens,
            sources=None if sources is None else [sources],
        )
    batch = Batch(torch.tensor([[*ids, *new]]), source=None if sources is None else Batch(torch.tensor([sources])))
    ended = len(new) < new_tokens
    return Asked(batch, Words(tokenizer), len(ids), begins, writes=True, seed=seed, ended=ended, notes=notes)


def _loss(subject: Subject) -> Any:
    """The config's loss, for the ids that it adds; None where it cannot be made alone."""
    try:
        return make(subject.config["loss"], "loss", vocab_size=subject.tokenizer.vocab_size)
    except (KeyError, ValueError):
        return None
