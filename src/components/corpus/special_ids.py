"""What stands before and after a text: the ids that a tokenizer's file says begin, end and surround one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.corpus.tokens import Tokens


def first_ids(tokenizer: Tokens) -> list[int]:
    """Before every prompt: what the tokenizer's file says, else what begins every document."""
    return [tokenizer.specials["endoftext"]] if tokenizer.begins is None else list(tokenizer.begins)


def source_ids(tokenizer: Tokens, text: str) -> list[int]:
    """What an encoder reads: the text with what the tokenizer's file puts around one; where it says nothing, as a document begins."""
    whole = tokenizer.encode_whole(text)
    return whole if tokenizer.begins is not None or tokenizer.closes else [*first_ids(tokenizer), *whole]


def target_start(tokenizer: Tokens, text: str = "") -> list[int]:
    """What stands before ``text``, with which an encoder-decoder's own text begins.

    That is what came with the model (``starts``: decoder_start_token_id), else what begins every text or document; and, where there is a
    ``text``, what its file puts before one.
    """
    starts, begins, own = tokenizer.starts, list(tokenizer.begins or ()), tokenizer.specials
    if starts is None:
        starts = first_ids(tokenizer) or [own.get("bos", own.get("endoftext", 0))]
    return list(starts) if not text or starts[len(starts) - len(begins) :] == begins else [*starts, *begins]


def stop_ids(tokenizer: Tokens) -> tuple[int, ...]:
    """Where a text is over: what came with the model, else what ends every document."""
    own = tokenizer.specials.get("endoftext")
    return tuple(tokenizer.ends) if tokenizer.ends is not None else () if own is None else (own,)
