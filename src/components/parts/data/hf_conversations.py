"""It needs the extra ``data``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from components.core.registry import register
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._conversations import FORM, conversations
from components.parts.data._hub import ExamplesFromHub


@register("data", "hf_conversations")
class HFConversations(ExamplesFromHub):
    """Instructions and chats from a Hugging Face data set, from the hub or local; the form is told by the fields of each row, as in ``conversations``.

    A hub data set is taken to stay as it is under its name and revision: give a revision where that matters.

    Args:
        path: a hub id (``tatsu-lab/alpaca``), a folder (of data files, or made by ``save_to_disk``), or a data file.
        abnormal: rows that are no conversation in text (unknown roles, pictures, calls without a name): refused, or dropped and counted.
    """

    provides = ("conversations",)

    abnormal: Literal["refuse", "drop"] = "refuse"

    def __init__(self, *, path: str) -> None:
        super().__init__(path=path)
        self.notes: list[str] = []

    def fingerprint(self) -> str:
        return key_of("hf_conversations", FORM, *self.hub.fingerprint(), self.splits, self.abnormal)

    def examples(self) -> Iterator[Example]:
        yield from conversations(self.hub.rows(self.splits), self.abnormal, self.notes)
