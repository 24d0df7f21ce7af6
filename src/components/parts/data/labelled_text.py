"""For text classification on one's own files."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.registry import register
from components.core.signature import Path
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._examples import labelled
from components.parts.data._splits import Tables


@register("data", "labelled_text")
class LabelledText:
    """The user's own texts with a label each, from tables (csv, tsv, jsonl, json, parquet).

    Args:
        path: a file, a folder (searched for tables that are not hidden), or a pattern such as ``reviews/*.csv``.
        text: the column of the text; ``a.b`` is field b of the object in column a.
        label: the column of the label, a text or a whole number.
        labels: all labels in the order that their numbers have; others are refused. None given: those that occur, sorted.
        validation_path: files to validate on; null: a share of the texts, drawn by a hash.
        test_path: files to test on, likewise.
        columns: of csv and tsv whose first line is a row: the names of the columns.
        quotes: of csv and tsv: quotation marks around a cell belong to the format; false: they are part of the text.
    """

    provides = ("labels",)

    def __init__(
        self,
        *,
        path: Path,
        text: str = "text",
        label: str = "label",
        labels: tuple[str, ...] = (),
        validation_path: Path | None = None,
        test_path: Path | None = None,
        columns: tuple[str, ...] = (),
        quotes: bool = True,
    ) -> None:
        self.tables = Tables(path, validation_path, test_path, columns, quotes)
        self.text, self.label, self.labels = text, label, tuple(labels)

    def fingerprint(self) -> str:
        return key_of("labelled_text", self.text, self.label, self.labels, *self.tables.fingerprint())

    def examples(self) -> Iterator[Example]:
        for split, row in self.tables.rows([self.text, self.label]):
            yield labelled(split, row, self.text, self.label, self.labels)
