"""Instructions and chats from a Hugging Face data set, from the hub or local; needs the extra ``data``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from components.core.registry import register
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._conversations import conversations
from components.parts.data._hub import Hub, splits_of


@register("data", "hf_conversations")
class HFConversations:
    """Instructions and chats from a Hugging Face data set, from the hub or local; the form is told by the fields of each row, as in ``conversations``.

    A hub data set is taken to stay as it is under its name and revision: give a revision where that matters.

    Args:
        path: a hub id (``tatsu-lab/alpaca``), a folder (of data files, or made by ``save_to_disk``), or a data file.
        subset: the configuration, where a data set has several.
        split: which split to learn from; slices such as ``train[:1%]`` work.
        validation_split: which split to validate on; null: a share of ``split``, drawn by a hash.
        test_split: which split to test on, likewise.
        abnormal: rows that are no conversation in text (unknown roles, pictures, calls of tools): refused, or dropped and counted.
        revision: a commit or tag of the hub's repository.
        streaming: read over the network without storing the data set.
    """

    provides = ("conversations",)

    def __init__(
        self,
        *,
        path: str,
        subset: str | None = None,
        split: str = "train",
        validation_split: str | None = None,
        test_split: str | None = None,
        abnormal: Literal["refuse", "drop"] = "refuse",
        revision: str | None = None,
        streaming: bool = False,
    ) -> None:
        self.hub, self.splits = Hub(path, subset, revision, streaming), splits_of(split, validation_split, test_split)
        self.abnormal = abnormal
        self.notes: list[str] = []

    def fingerprint(self) -> str:
        return key_of("hf_conversations", *self.hub.fingerprint(), self.splits, self.abnormal)

    def examples(self) -> Iterator[Example]:
        yield from conversations(self.hub.rows(self.splits), self.abnormal, self.notes)
