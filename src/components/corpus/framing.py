"""What stands around a document among others: where one begins, where it is over, and what a model is to say there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Framed(Protocol):
    """What of a tokenizer is asked here: ids of special tokens by role, and those that its file puts around a text."""

    specials: dict[str, int]
    begins: list[int] | None
    closes: list[int]


@dataclass(frozen=True, slots=True)
class Frame:
    """The tokens around each document, as the tokenizer's file puts them around a text; where it puts none, ``end`` before it.

    A causal model reads ``before`` and the text and learns to say ``end`` where the next document begins: the first token of a document is
    never asked for, so that what is learnt is what ``generate`` and ``score`` give. An encoder reads the whole.

    Args:
        before: ids that each document begins with; none: documents are told apart by their last token.
        after: ids that each ends with.
        end: the id that says that a text is over.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    end: int

    @property
    def mark(self) -> int:
        """The id that stands once in each document: its first, or its last where nothing stands before one."""
        return self.before[0] if self.before else self.after[-1]

    def closing(self, whole: bool) -> bool:
        """Whether a document is over after the mark, and does not begin there; ``whole``: for a model that reads it with all of its frame."""
        return whole and not self.before

    def unasked(self, whole: bool) -> int:
        """Targets of each document that are not asked for: all that is given, and what follows the end."""
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
