"""Pairs of texts as conversations: what a decoder with a chat template may learn from them, as instructions or by rewards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from components.core.makers import Maker, make
from components.core.registry import register
from components.corpus.example import Example, Message
from components.corpus.store import key_of


@register("data", "conversations_of")
class ConversationsOf:
    """Every pair of a source as a conversation of one question and one answer: the user says the first text, the assistant the second.

    Args:
        source: a source of pairs of texts.
    """

    provides = ("conversations",)

    def __init__(self, *, source: Maker["data"]) -> None:
        self.source = make(source, "data")
        if "pairs" not in self.source.provides:
            raise ValueError(f"{type(self.source).__name__} gives no pairs of texts: take a source such as spelled_numbers")
        self.notes: list[str] = []

    def fingerprint(self) -> str:
        return key_of("conversations_of", type(self.source).__qualname__, self.source.fingerprint())

    def examples(self) -> Iterator[Example]:
        for e in self.source.examples():
            said = (Message(role="user", content=str(e.input)), Message(role="assistant", content=str(e.answer)))
            yield replace(e, input=said, answer=None)
        self.notes[:] = self.source.notes
