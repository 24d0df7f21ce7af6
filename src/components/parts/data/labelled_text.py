"""For text classification on one's own files."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.registry import register
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._examples import labelled
from components.parts.data._from_tables import FromTexts


@register("data", "labelled_text")
class LabelledText(FromTexts):
    """The user's own texts with a label each, from tables (csv, tsv, jsonl, json, parquet).

    Args:
        path: a file, a folder (searched for tables that are not hidden), or a pattern such as ``reviews/*.csv``.
        text: the column of the text; ``a.b`` is field b of the object in column a.
        label: the column of the label, a text or a whole number.
        labels: all labels in the order that their numbers have; others are refused. None given: those that occur, sorted.
    """

    provides = ("labels",)

    text: str = "text"
    label: str = "label"
    labels: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        return key_of("labelled_text", self.text, self.label, tuple(self.labels), *self.tables.fingerprint())

    def examples(self) -> Iterator[Example]:
        for split, row in self.tables.rows([self.text, self.label]):
            yield labelled(split, row, self.text, self.label, tuple(self.labels))
