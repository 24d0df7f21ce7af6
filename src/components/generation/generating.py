"""Text from a model: encode prompts, let the ``decoding`` part choose tokens, decode. Used for samples while training and by
``components generate``.

A decoder continues its prompt. An encoder-decoder reads the prompt once, as its source, and writes a text of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from components.core.config_types import Config
from components.core.contracts import NeedsModel
from components.core.errors import UserError
from components.core.makers import make
from components.core.sockets import Batch, Cache
from components.core.terminal import require_text
from components.core.traits import reads_source, why_cannot_generate
from components.corpus.special_ids import first_ids, source_ids, stop_ids, target_start
from components.corpus.tokens import Tokens
from components.generation.streaming import Stream, should_stop, text_of
from components.parts.decoding._loop import context_limit, evaluating
from components.runs.loading import Opened, open_model


def generate(
    model: nn.Module,
    tokenizer: Tokens,
    config: Config,
    prompt: str | Sequence[str] = "",
    *,
    count: int = 1,
    max_new_tokens: int | None = None,
    seed: int = 0,
    on_text: Callable[[str], None] | None = None,
    stop: Sequence[str] = (),
    prefill_chunk: int | None = None,
    target: str | Sequence[str] = "",
) -> list[str]:
    """``count`` continuations of each prompt, the prompt included. A text ends at the token that ends a document, or at one of the tokenizer's ``ends``.

    An encoder-decoder gives ``count`` texts for each prompt; the prompt is their source and not part of them.

    Args:
        model: put into eval mode meanwhile.
        tokenizer: its ``begins`` come before the prompt; if they are None, ``specials["endoftext"]`` begins every document.
        config: only its nodes ``decoding`` and ``cache`` are used.
        prompt: one, or several, which are continued together with the same result as alone. An empty prompt begins a document.
            An encoder-decoder reads it with the special tokens that the tokenizer's file puts around a text.
        count: texts of each prompt; they follow one another in the result.
        max_new_tokens: the largest number of tokens of a continuation; None: what the tokenizer's files say (``most``), else 120.
        seed: of sampling. The n-th text of a prompt has a random stream of its own, so it does not depend on other texts.
        on_text: called with each new piece of text; only for one prompt with ``count=1``.
        stop: strings; a text also ends before the first of them.
        prefill_chunk: read prompts in pieces of this many tokens, which takes less memory.
        target: the beginning of an encoder-decoder's text, after its start token: one, or one for each prompt.

    Raises:
        UserError: the model cannot continue text, ``target`` is given to a model without a source, a text holds a token that the model
            has no row for, or a stop string is empty.
    """
    require_text("prompt", prompt, target)
    require_text("stop", stop)
    if not all(stop):
        raise UserError(
            "stop", "an empty text is found everywhere, so nothing would be written", "leave it out, or give a text"
        )
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    targets = [target] * len(prompts) if isinstance(target, str) else list(target)
    ends, before = stop_ids(tokenizer), ()  # before: ids that an encoder-decoder has learnt to write before its text
    if reads_source(model):
        if len(targets) != len(prompts):
            raise ValueError(f"{len(targets)} targets for {len(prompts)} prompts")
        given = [tokenizer.encode(t) for t in targets]
        starts = [target_start(tokenizer, t) for t in targets]
        sources = [source_ids(tokenizer, p) for p in prompts for _ in range(count)]
        before = () if any(targets) else tuple(tokenizer.begins or ())
    elif any(targets):
        raise UserError("target", "the model reads no source, so its text begins with the prompt", "put it into the prompt")
    else:
        given, sources = [tokenizer.encode(p) for p in prompts], None
        begins, first = first_ids(tokenizer), tokenizer.specials.get("bos", tokenizer.specials.get("endoftext", 0))
        starts = [begins if begins or g else [first] for g in given]
    for text, ids in zip(prompts, sources[::count] if sources is not None else given):
        tokenizer.need_rows(ids, f"prompt: {text!r:.60}")
    for text, ids in zip(targets, given) if sources is not None else ():
        tokenizer.need_rows(ids, f"target: {text!r:.60}")
    rows = [[*s, *g] for s, g in zip(starts, given) for _ in range(count)]
    stream = None if on_text is None else Stream(tokenizer, ends, on_text, given[0], stop, before)
    made = continue_ids(
        model,
        tokenizer,
        config,
        rows,
        seeds=[(seed, i % count) for i in range(len(rows))],
        ends=ends,
        max_new_tokens=max_new_tokens or tokenizer.most or 120,
        on_token=stream,
        stop=stop,
        prefill_chunk=prefill_chunk,
        sources=sources,
        before=before,
    )
    return [text_of(tokenizer, given[i // count], strip_prefix(before, new), stop) for i, new in enumerate(made)]


def texts_after(
    model: nn.Module,
    tokenizer: Tokens,
    config: Config,
    rows: list[list[int]],
    sources: list[list[int]] | None,
    *,
    seed: int,
    ends: Sequence[int],
    max_new_tokens: int,
) -> list[str]:
    """The text that the model writes after each row of ids; ``sources``: what an encoder-decoder reads before."""
    before = () if sources is None else tuple(tokenizer.begins or ())
    made = continue_ids(
        model,
        tokenizer,
        config,
        rows,
        seeds=[(seed, 0)] * len(rows),
        ends=ends,
        max_new_tokens=max_new_tokens,
        sources=sources,
        before=before,
    )
    return [text_of(tokenizer, [], strip_prefix(before, new), ()) for new in made]


@torch.inference_mode()
def continue_ids(
    model: nn.Module,
    tokenizer: Tokens,
    config: Config,
    rows: list[list[int]],
    *,
    seeds: Sequence[tuple[int, int]],
    ends: Sequence[int],
    max_new_tokens: int,
    on_token: Callable[[Tensor], None] | None = None,
    stop: Sequence[str] = (),
    prefill_chunk: int | None = None,
    sources: list[list[int]] | None = None,
    before: Sequence[int] = (),
) -> list[list[int]]:
    """The ids that the model writes after each row, without the one that ends them. Shorter rows are padded on the left.

    ``sources``: the ids that an encoder-decoder reads for each row, padded on the right. ``before``: ids that it may write first and that are
    not part of its text.
    """
    if reason := why_cannot_generate(model, source=sources is not None):
        raise UserError("generate", f"the model continues no text: {reason}", "take a causal decoder with a head for tokens")
    if not rows:
        return []
    device, width = next(model.parameters()).device, max(map(len, rows))
    batch = together(rows, device, left=True)
    if sources is not None:
        if not all(sources):
            raise UserError("prompt", "the source has no token", "give a text that the model reads")
        batch = replace(batch, source=together(sources, device, left=False))
    decoding, cache = make(config["decoding"], "decoding"), make(config["cache"], "cache")
    needy: object = decoding  # a name of its own: asking narrows a type, and a decoding that needs a model is still one
    if isinstance(needy, NeedsModel):
        needy.attach(draft_of(needy.run, tokenizer, device, source=sources is not None))
    bound = None if cache is None else context_limit(model)
    with evaluating(model):
        out = decoding.generate(
            restrict_vocab(model, tokenizer),
            batch,
            cache=cache,
            max_new_tokens=max_new_tokens,
            stop_ids=tuple(ends),
            generator=list(seeds),
            on_token=on_token,
            **({"over": should_stop(tokenizer, stop, width, before)} if stop else {}),
            **({"prefill_chunk": prefill_chunk} if prefill_chunk else {}),
        )
    # a row that reached the end of the context before others was filled up
    room = [None if bound is None else bound + 1 - len(row) for row in rows]
    new = [row[width:][:most] for row, most in zip(out.tolist(), room)]
    return [row[: next((i for i, token in enumerate(row) if token in ends), len(row))] for row in new]


def together(rows: list[list[int]], device: torch.device, *, left: bool) -> Batch:
    """Rows of ids as one batch; shorter ones are padded on the left or on the right."""
    width = max(map(len, rows))
    pads = [[0] * (width - len(r)) for r in rows]
    ids = torch.tensor([[*p, *r] if left else [*r, *p] for p, r in zip(pads, rows)], device=device)
    lengths, columns = torch.tensor([len(r) for r in rows], device=device)[:, None], torch.arange(width, device=device)
    whole = all(len(r) == width for r in rows)
    return Batch(ids, valid=None if whole else columns >= width - lengths if left else columns < lengths)


def draft_of(run: str | None, tokenizer: Tokens, device: torch.device, *, source: bool = False) -> nn.Module:
    """The small model of speculative decoding; ``source``: it may be an encoder-decoder.

    Raises:
        UserError: no run is named, it does not exist, its tokens differ, or its model cannot continue text.
    """
    if run is None:
        raise UserError(
            "decoding.draft", "speculative decoding needs a small model", "decoding.draft=RUN, trained with the same tokenizer"
        )
    try:
        loaded = _loaded(run, str(device))
    except UserError as e:
        raise UserError("decoding.draft", str(e)) from e
    if loaded.tokenizer.fingerprint() != tokenizer.fingerprint():
        raise UserError(
            "decoding.draft", f"the tokenizer of {run} is another one", "train the small model with the large one's tokenizer"
        )
    if reason := why_cannot_generate(loaded.model, source=source):
        raise UserError("decoding.draft", f"{run} continues no text: {reason}", "train a small model of the same kind")
    return restrict_vocab(loaded.model, tokenizer)


@lru_cache(maxsize=1)  # every answer of a conversation asks for the same one
def _loaded(run: str, device: str) -> Opened:
    return open_model(run, device=device)


def strip_prefix(before: Sequence[int], ids: list[int]) -> list[int]:
    """``ids`` without the leading ones that are in ``before``."""
    return ids[next((n for n, i in enumerate(ids) if i not in before), len(ids)) :]


def restrict_vocab(model: nn.Module, tokenizer: Tokens) -> nn.Module:
    """The model without logits for ids beyond the tokenizer's."""
    return model if model.vocab_size == tokenizer.vocab_size else VocabLimited(model, tokenizer.vocab_size)


class VocabLimited(nn.Module):
    """A model that returns only the logits of the tokenizer's ids, so that masks and sentinels of its objective are never sampled."""

    def __init__(self, model: nn.Module, size: int) -> None:
        super().__init__()
        self.model, self.size, self.context_length = model, size, model.context_length

    def forward(self, batch: Batch, cache: Cache | None = None, last: bool = False) -> Tensor:
        return self.model(batch, cache=cache, last=last)[..., : self.size]
