"""For classifying the rows of a table."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.registry import register
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._examples import label_of
from components.parts.data._from_tables import FromNumbers


@register("data", "table")
class Table(FromNumbers):
    """The user's own table: columns of numbers and a label for each row, from csv, tsv, jsonl, json or parquet.

    A row is one position of as many numbers as there are features. Its numbers are taken as they are but for ``subtract`` and
    ``divide_by``; the report names the range of every column.

    Args:
        path: a file, a folder (searched for tables that are not hidden), or a pattern such as ``flowers/*.csv``.
        label: the column of the label, a text or a whole number.
        labels: all labels in the order that their numbers have; others are refused. None given: those that occur, sorted.
    """

    provides = ("values", "labels")

    label: str = "label"
    labels: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        held = [
            self.label,
            list(self.features),
            tuple(self.labels),
            self.missing,
            self.abnormal,
            self.scale.subtract,
            self.scale.divide_by,
        ]
        return key_of("table", *held, *self.tables.fingerprint())

    def examples(self) -> Iterator[Example]:
        read = self.read([self.label], "label")
        for split, row in read:
            numbers = self.scale(read.numbers(row, read.features))
            yield Example(
                (numbers,), read.label(row, label_of(row, self.label, tuple(self.labels))), row.origin, row.line, split
            )
        self.notes[:] = read.notes()
