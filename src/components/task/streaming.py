"""Tokens as text while they come: whole characters only, up to the string at which a text stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def text_of(tokenizer: Any, given: list[int], new: list[int], stop: Sequence[str] = ()) -> str:
    """Of a prompt's ids and what came after them, up to the first of the strings ``stop`` in what is new."""
    text = tokenizer.decode([*given, *new])
    if stop:
        before = len(tokenizer.decode(given)) if given else 0
        text = text[: min((at for s in stop if (at := text.find(s, before)) >= 0), default=len(text))]
    return text


def over_at(tokenizer: Any, stop: Sequence[str], width: int) -> Callable[[Tensor], Tensor]:
    """Whether one of the strings stands among the newest tokens after the first ``width``."""
    reach = 2 * max(len(s.encode("utf8")) for s in stop) + 4  # tokens; a token has a byte of text at least

    def over(ids: Tensor) -> Tensor:
        newest = ids[:, max(width, ids.shape[1] - reach) :].tolist()
        texts = (tokenizer.decode(row) for row in newest)
        return torch.tensor([any(s in text for s in stop) for text in texts], device=ids.device)

    return over


class Stream:
    """Turns tokens into pieces of text that are whole characters: a byte-level token may be a part of one.

    What may be the beginning of a string at which the text stops is held back; ids of ``before`` that come first are left out.
    """

    def __init__(
        self,
        tokenizer: Any,
        ends: Sequence[int],
        give: Callable[[str], None],
        prompt: list[int],
        stop: Sequence[str] = (),
        before: Sequence[int] = (),
    ) -> None:
        self.tokenizer, self.ends, self.give, self.stop, self.before = tokenizer, ends, give, stop, before
        self.prompt, self.new = list(prompt), []  # the text of a token may depend on what stands before it
        self.shown = len(tokenizer.decode(prompt)) if prompt else 0

    def __call__(self, token: Tensor) -> None:
        new = int(token.reshape(-1)[0])
        if new in self.ends or (not self.new and new in self.before):
            return
        self.new.append(new)
        text = text_of(self.tokenizer, self.prompt, self.new, self.stop)
        possible = [n for s in self.stop for n in range(1, len(s)) if text.endswith(s[:n])]
        text = text[: len(text) - max(possible, default=0)]
        if not text.endswith("\ufffd") and len(text) > self.shown:
            self.give(text[self.shown :])
            self.shown = len(text)
