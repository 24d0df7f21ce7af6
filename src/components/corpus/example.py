"""One thing with an answer: what sources of labelled, paired, measured and conversational data yield instead of plain documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

Values = tuple[tuple[float, ...], ...]  # (T, F): T positions of F numbers each


class Message(TypedDict):
    """One turn of a conversation. ``role``: system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """An input and its answer. All examples with the same input belong to one split.

    Args:
        input: a text, numbers (T, F), or the messages of a conversation.
        answer: a label or a text (str), numbers (a tuple of floats), or None for a conversation, which holds its own answers.
        origin: the file, or another hint where to look.
        line: the line of ``origin``, from 1; 0 where lines have no meaning.
        split: train, validation or test if the source decides; None: a hash of the input decides.
        answers: of a preference, whose input is its prompt: the messages that are chosen, and those that are rejected.
    """

    input: str | Values | tuple[Message, ...]
    answer: str | tuple[float, ...] | None
    origin: str
    line: int = 0
    split: str | None = None
    answers: tuple[tuple[Message, ...], ...] = ()

    @property
    def where(self) -> str:
        """``file:line``, or the file alone."""
        return f"{self.origin}:{self.line}" if self.line else self.origin
