"""The forms are those that trl documents for preference data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from components.core.registry import register
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._conversations import FORM
from components.parts.data._from_tables import FromTables
from components.parts.data._preferences import preferences


@register("data", "preferences")
class Preferences(FromTables):
    """The user's own pairs of answers, of which one was preferred, from jsonl, json or parquet; the form is told by the fields of each row.

    ``{"prompt": ..., "chosen": ..., "rejected": ...}`` as texts; the same with lists of messages, ``[{"role": "user", "content": ...}, ...]``;
    ``{"chosen": [...], "rejected": [...]}`` as whole conversations, whose common beginning is the prompt. Equal prompts are in one split.
    ``{"prompt": ..., "completion": ..., "label": true}`` is one answer that was judged by itself, which loss/kto learns from.
    ``tools`` and calls of them are those of ``conversations``.

    Args:
        path: a file, a folder (searched for tables that are not hidden), or a pattern such as ``pairs/*.jsonl``.
        abnormal: rows that are no preference in text: refused with file and line, or dropped and counted.
    """

    provides = ("preferences",)

    abnormal: Literal["refuse", "drop"] = "refuse"

    def fingerprint(self) -> str:
        return key_of("preferences", FORM, self.abnormal, *self.tables.fingerprint())

    def examples(self) -> Iterator[Example]:
        yield from preferences(self.tables.rows(), self.abnormal, self.notes)
