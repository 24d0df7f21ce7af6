"""Tokens as text while they are generated: whole characters only, up to a stop string.

The text of a token depends on a few tokens before it: a decoder drops a space at the beginning, and several tokens may form one character.
So new tokens are decoded together with those of the last piece, whose text is then left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from components.corpus.tokens import Tokens

OPEN = "\ufffd"  # what decoders write for an incomplete character
EAGER = 8  # after this many tokens without a whole character, not every further one is decoded
BEFORE = 4  # tokens of context


def text_of(tokenizer: Tokens, given: list[int], new: list[int], stop: Sequence[str] = ()) -> str:
    """The text of a prompt's ids and the new ones, up to the first stop string in the new text."""
    text = tokenizer.decode([*given, *new])
    if stop:
        before = len(tokenizer.decode(given)) if given else 0
        text = text[: min((at for s in stop if (at := text.find(s, before)) >= 0), default=len(text))]
    return text


def should_stop(tokenizer: Tokens, stop: Sequence[str], width: int, before: Sequence[int] = ()) -> Callable[[Tensor], Tensor]:
    """A function of ids (B, T) -> (B,): whether a stop string is among the newest tokens after the first ``width``, as ``text_of`` finds it.

    ``before``: ids that are not part of a text if they come first in it.
    """
    reach = 2 * max(len(s.encode("utf8", errors="replace")) for s in stop) + 4  # tokens; a token has a byte of text at least
    special = {i for i, token in tokenizer.core.get_added_tokens_decoder().items() if token.special}

    def found(row: list[int]) -> bool:
        first = width
        while first < len(row) and row[first] in before:
            first += 1
        start = max(first, len(row) - reach)
        context = row[max(first, start - BEFORE) : start]
        for i in reversed(row[max(0, start - BEFORE) : width] if first == width else ()):
            if i in special:  # it marks the beginning of the text and is not part of it
                break
            context.insert(0, i)
        known = len(tokenizer.decode(context)) if context else 0
        text = tokenizer.decode([*context, *row[start:]])
        return any(text.find(s, known) >= 0 for s in stop)

    return lambda ids: torch.tensor([found(row) for row in ids.tolist()], device=ids.device)


class Stream:
    """Turns tokens into pieces of text of whole characters; a byte-level token may be part of one. Its work is linear in the tokens.

    Text that may be the beginning of a stop string is held back. Leading ids that are in ``before`` are left out.
    """

    def __init__(
        self,
        tokenizer: Tokens,
        ends: Sequence[int],
        give: Callable[[str], None],
        prompt: list[int],
        stop: Sequence[str] = (),
        before: Sequence[int] = (),
    ) -> None:
        self.tokenizer, self.ends, self.give, self.stop, self.before = tokenizer, ends, give, stop, before
        self.begun = self.over = False
        self.held = ""  # text that may begin a stop string
        self.window, self.waiting, self.look = list(prompt[-2 * BEFORE :]), 0, 0
        self.known = len(tokenizer.decode(self.window)) if prompt else 0
        if prompt and not self.known:
            self.window = list(prompt)
            self.known = len(tokenizer.decode(prompt))

    def __call__(self, token: Tensor) -> None:
        new = int(token.reshape(-1)[0])
        if self.over or new in self.ends or (not self.begun and new in self.before):
            return
        self.begun = True
        self.window.append(new)
        self.waiting += 1
        if self.waiting < self.look:
            return
        text = self.tokenizer.decode(self.window)
        if text.endswith(OPEN) or len(text) <= self.known:
            # bytes that never become a character are decoded ever more rarely, so that the work stays linear
            self.look = self.waiting + max(1, self.waiting // EAGER)
            return
        self._show(text[self.known :])
        last = self.window[-self.waiting :]
        known = len(self.tokenizer.decode(last))
        if known:  # tokens without text cannot be context
            self.window, self.known, self.waiting, self.look = last, known, 0, 0
        else:
            self.known = len(text)

    def _show(self, fresh: str) -> None:
        text = self.held + fresh
        at = min((at for s in self.stop if (at := text.find(s)) >= 0), default=None)
        self.over = at is not None
        shown = text if at is None else text[:at]
        if at is None:
            possible = (n for s in self.stop for n in range(1, len(s)) if text.endswith(s[:n]))
            shown = text[: len(text) - max(possible, default=0)]
        self.held = text[len(shown) :]
        if shown:
            self.give(shown)
