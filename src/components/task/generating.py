"""Text from a model: encode prompts, let the ``decoding`` part choose, decode. For samples while training and for ``components generate``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from components.errors import UserError
from components.makers import make
from components.sockets import Batch
from components.task.objectives import silent_reason


def generate(
    model: Any,
    tokenizer: Any,
    config: dict[str, Any],
    prompt: str | Sequence[str] = "",
    *,
    count: int = 1,
    max_new_tokens: int = 120,
    seed: int = 0,
    on_text: Callable[[str], None] | None = None,
    stop: Sequence[str] = (),
    prefill_chunk: int | None = None,
) -> list[str]:
    """``count`` continuations of each prompt, the prompt included; they end at the token that ends a document, or at the tokenizer's ``ends``.

    Args:
        model: called as the contracts say; put into eval mode for the time.
        tokenizer: its ``begins`` come before the prompt; where it has none said, ``specials["endoftext"]`` begins every document.
        config: its nodes ``decoding`` and ``cache`` are used.
        prompt: one, or several, which are continued together and give the texts that each would give alone; may be empty: then a
            document begins.
        count: texts of each prompt, one after another in what is returned.
        max_new_tokens: at most.
        seed: of what is drawn; the n-th text of a prompt has a stream of its own, whatever else is drawn with it.
        on_text: called with each new piece of text as it comes; only for one prompt with ``count=1``.
        stop: a text also ends before the first of these strings.
        prefill_chunk: prompts are read in pieces of so many tokens, which takes less memory.

    Raises:
        UserError: the model does not continue a text.
    """
    begins = first_ids(tokenizer)
    given = [tokenizer.encode(p) for p in ([prompt] if isinstance(prompt, str) else prompt)]
    starts = [begins if begins or g else [tokenizer.specials.get("bos", tokenizer.specials.get("endoftext", 0))] for g in given]
    rows = [[*s, *g] for s, g in zip(starts, given) for _ in range(count)]
    ends = stop_ids(tokenizer)
    stream = None if on_text is None else Stream(tokenizer, ends, on_text, given[0], stop)
    made = continue_ids(
        model,
        tokenizer,
        config,
        rows,
        seeds=[(seed, i % count) for i in range(len(rows))],
        ends=ends,
        max_new_tokens=max_new_tokens,
        on_token=stream,
        stop=stop,
        prefill_chunk=prefill_chunk,
    )
    return [text_of(tokenizer, given[i // count], new, stop) for i, new in enumerate(made)]


@torch.inference_mode()
def continue_ids(
    model: Any,
    tokenizer: Any,
    config: dict[str, Any],
    rows: list[list[int]],
    *,
    seeds: Sequence[tuple[int, int]],
    ends: Sequence[int],
    max_new_tokens: int,
    on_token: Callable[[Tensor], None] | None = None,
    stop: Sequence[str] = (),
    prefill_chunk: int | None = None,
) -> list[list[int]]:
    """The ids that the model writes after those of each row, without the one that ends them. Shorter rows are padded on the left."""
    if reason := silent_reason(model):
        raise UserError("generate", f"the model continues no text: {reason}", "take a causal decoder with a head for tokens")
    if not rows:
        return []
    device, width = next(model.parameters()).device, max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(r)) + r for r in rows], device=device)
    lengths = torch.tensor([len(r) for r in rows], device=device)
    valid = None if bool((lengths == width).all()) else torch.arange(width, device=device) >= width - lengths[:, None]
    decoding, cache = make(config["decoding"], "decoding"), make(config["cache"], "cache")
    if getattr(decoding, "wants", None) == "draft":
        decoding.draft = draft_of(decoding.draft_run, tokenizer, device)
    was_training = model.training
    model.eval()
    try:
        out = decoding.generate(
            speaker(model, tokenizer),
            Batch(ids, valid=valid),
            cache=cache,
            max_new_tokens=max_new_tokens,
            stop_ids=tuple(ends),
            generator=list(seeds),
            on_token=on_token,
            **({"over": _over(tokenizer, stop, width)} if stop else {}),
            **({"prefill_chunk": prefill_chunk} if prefill_chunk else {}),
        )
    finally:
        model.train(was_training)
    new = [row[width:] for row in out.tolist()]
    return [row[: next((i for i, token in enumerate(row) if token in ends), len(row))] for row in new]


def draft_of(run: str | None, tokenizer: Any, device: torch.device) -> Any:
    """The small model of speculative decoding.

    Raises:
        UserError: none is named, there is no such run, or its tokens are others.
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
    return speaker(loaded.model, tokenizer)


@lru_cache(maxsize=1)  # a conversation asks for the same one with every answer
def _loaded(run: str, device: str) -> Any:
    from components.run import load

    return load(run, device=device)


def first_ids(tokenizer: Any) -> list[int]:
    """Before every prompt: what the tokenizer's file says, else what begins every document."""
    begins = getattr(tokenizer, "begins", None)
    return [tokenizer.specials["endoftext"]] if begins is None else list(begins)


def stop_ids(tokenizer: Any) -> tuple[int, ...]:
    """Where a text is over: what came with the model, else what ends every document."""
    ends = getattr(tokenizer, "ends", None)
    own = tokenizer.specials.get("endoftext")
    return tuple(ends) if ends is not None else () if own is None else (own,)


def speaker(model: Any, tokenizer: Any) -> Any:
    """The model, of which no id beyond the tokenizer's is drawn."""
    return model if getattr(model, "vocab_size", None) == tokenizer.vocab_size else Within(model, tokenizer.vocab_size)


class Within(nn.Module):
    """A model whose logits are those of the tokenizer's ids alone: masks and sentinels that its objective has beyond them are never drawn."""

    def __init__(self, model: Any, size: int) -> None:
        super().__init__()
        self.model, self.size, self.context_length = model, size, model.context_length

    def forward(self, batch: Batch, **options: Any) -> Tensor:
        return self.model(batch, **options)[..., : self.size]


def text_of(tokenizer: Any, given: list[int], new: list[int], stop: Sequence[str] = ()) -> str:
    """Of a prompt's ids and what came after them, up to the first of the strings ``stop`` in what is new."""
    text = tokenizer.decode([*given, *new])
    if stop:
        before = len(tokenizer.decode(given)) if given else 0
        text = text[: min((at for s in stop if (at := text.find(s, before)) >= 0), default=len(text))]
    return text


def _over(tokenizer: Any, stop: Sequence[str], width: int) -> Callable[[Tensor], Tensor]:
    """Whether one of the strings stands among the newest tokens after the first ``width``."""
    reach = 2 * max(len(s.encode("utf8")) for s in stop) + 4  # tokens; a token has a byte of text at least

    def over(ids: Tensor) -> Tensor:
        newest = ids[:, max(width, ids.shape[1] - reach) :].tolist()
        texts = (tokenizer.decode(row) for row in newest)
        return torch.tensor([any(s in text for s in stop) for text in texts], device=ids.device)

    return over


class Stream:
    """Turns tokens into pieces of text that are whole characters: a byte-level token may be a part of one.

    What may be the beginning of a string at which the text stops is held back.
    """

    def __init__(
        self,
        tokenizer: Any,
        ends: Sequence[int],
        give: Callable[[str], None],
        prompt: list[int],
        stop: Sequence[str] = (),
    ) -> None:
        self.tokenizer, self.ends, self.give, self.stop = tokenizer, ends, give, stop
        self.prompt, self.new = list(prompt), []  # the text of a token may depend on what stands before it
        self.shown = len(tokenizer.decode(prompt)) if prompt else 0

    def __call__(self, token: Tensor) -> None:
        new = int(token.reshape(-1)[0])
        if new in self.ends:
            return
        self.new.append(new)
        text = text_of(self.tokenizer, self.prompt, self.new, self.stop)
        possible = [n for s in self.stop for n in range(1, len(s)) if text.endswith(s[:n])]
        text = text[: len(text) - max(possible, default=0)]
        if not text.endswith("\ufffd") and len(text) > self.shown:
            self.give(text[self.shown :])
            self.shown = len(text)
