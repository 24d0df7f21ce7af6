"""The tokens around each document: where it begins, where it ends, and what a model must predict there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Framed(Protocol):
    """The parts of a tokenizer used here: ids of special tokens by role, and the ids its file puts around a text."""

    specials: dict[str, int]
    begins: list[int] | None
    closes: list[int]


@dataclass(frozen=True, slots=True)
class Frame:
    """The tokens that the tokenizer's file puts around a text. If it puts none, ``end`` stands before each document.

    A causal model reads ``before`` and the text, and learns to predict ``end`` where the next document begins. A document's first
    token is never a target, so training matches what ``generate`` and ``score`` compute. An encoder reads the whole frame.

    Args:
        before: ids that begin each document; empty: the last token separates documents.
        after: ids that end each document.
        end: the id that ends a text.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    end: int

    @property
    def mark(self) -> int:
        """The id that occurs once in each document: its first, or its last if ``before`` is empty."""
        return self.before[0] if self.before else self.after[-1]

    def closing(self, whole: bool) -> bool:
        """Whether the mark ends a document instead of beginning one. ``whole``: for a model that reads the whole frame."""
        return whole and not self.before

    def unasked(self, whole: bool) -> int:
        """The number of tokens in each document that are not targets: those that are given, and those after the end."""
        if whole:
            return len(self.before) + len(self.after)
        return len(self.before) - (not self.after) if self.before else 0


def frame_of(tokenizer: Framed) -> Frame:
    """The frame of a tokenizer's documents."""
    end = tokenizer.specials["endoftext"]
    before, after = tuple(tokenizer.begins or ()), tuple(tokenizer.closes)
    if before and before[0] in after:  # one token for both: what begins a document ends the one before
        after = ()
    return Frame(before, after, end) if before or after else Frame((end,), (), end)
