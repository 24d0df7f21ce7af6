"""The special ids before and after a text, as the tokenizer's file states them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.corpus.tokens import Tokens


def first_ids(tokenizer: Tokens) -> list[int]:
    """The ids before every prompt: those of the tokenizer's file, else those that begin every document."""
    return [tokenizer.specials["endoftext"]] if tokenizer.begins is None else list(tokenizer.begins)


def source_ids(tokenizer: Tokens, text: str) -> list[int]:
    """The ids that an encoder reads: the text with the ids that the tokenizer's file puts around it, else with those that begin a
    document."""
    whole = tokenizer.encode_whole(text)
    return whole if tokenizer.begins is not None or tokenizer.closes else [*first_ids(tokenizer), *whole]


def target_start(tokenizer: Tokens, text: str = "") -> list[int]:
    """The ids at the start of an encoder-decoder's own text, before ``text``.

    These are the ids that came with the model (``starts``: decoder_start_token_id), else those that begin every text or document.
    If there is a ``text``, the ids that its file puts before one follow.
    """
    starts, begins, own = tokenizer.starts, list(tokenizer.begins or ()), tokenizer.specials
    if starts is None:
        starts = first_ids(tokenizer) or [own.get("bos", own.get("endoftext", 0))]
    return list(starts) if not text or starts[len(starts) - len(begins) :] == begins else [*starts, *begins]


def stop_ids(tokenizer: Tokens) -> tuple[int, ...]:
    """The ids that end a text: those that came with the model, else the one that ends every document."""
    own = tokenizer.specials.get("endoftext")
    return tuple(tokenizer.ends) if tokenizer.ends is not None else () if own is None else (own,)
