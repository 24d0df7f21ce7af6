"""The forms are those that trl documents for preference data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from components.core.registry import register
from components.core.signature import Path
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._conversations import FORM, OnFault
from components.parts.data._preferences import preferences
from components.parts.data._splits import Tables


@register("data", "preferences")
class Preferences:
    """The user's own pairs of answers, of which one was preferred, from jsonl, json or parquet; the form is told by the fields of each row.

    ``{"prompt": ..., "chosen": ..., "rejected": ...}`` as texts; the same with lists of messages, ``[{"role": "user", "content": ...}, ...]``;
    ``{"chosen": [...], "rejected": [...]}`` as whole conversations, whose common beginning is the prompt. Equal prompts are in one split.
    ``{"prompt": ..., "completion": ..., "label": true}`` is one answer that was judged by itself, which loss/kto learns from.
    ``tools`` and calls of them are those of ``conversations``.

    Args:
        path: a file, a folder (searched for tables that are not hidden), or a pattern such as ``pairs/*.jsonl``.
        abnormal: rows that are no preference in text: refused with file and line, or dropped and counted.
        validation_path: files to validate on; null: a share of the prompts, drawn by a hash.
        test_path: files to test on, likewise.
    """

    provides = ("preferences",)

    def __init__(
        self,
        *,
        path: Path,
        abnormal: Literal["refuse", "drop"] = "refuse",
        validation_path: Path | None = None,
        test_path: Path | None = None,
    ) -> None:
        self.tables = Tables(path, validation_path, test_path, (), True)
        self.abnormal: OnFault = abnormal
        self.notes: list[str] = []

    def fingerprint(self) -> str:
        return key_of("preferences", FORM, self.abnormal, *self.tables.fingerprint())

    def examples(self) -> Iterator[Example]:
        yield from preferences(self.tables.rows(), self.abnormal, self.notes)
