"""For classifying the rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from components.core.registry import register
from components.core.signature import Path
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._examples import label_of
from components.parts.data._numbers import Columns, OnFault, Scale
from components.parts.data._splits import Tables


@register("data", "table")
class Table:
    """The user's own table: columns of numbers and a label for each row, from csv, tsv, jsonl, json or parquet.

    A row is one position of as many numbers as there are features. Its numbers are taken as they are but for ``subtract`` and
    ``divide_by``; the report names the range of every column.

    Args:
        path: a file, a folder (searched for tables that are not hidden), or a pattern such as ``flowers/*.csv``.
        label: the column of the label, a text or a whole number.
        features: the columns of numbers, in this order; none given: every column that has a number in it, but the label.
        labels: all labels in the order that their numbers have; others are refused. None given: those that occur, sorted.
        subtract: taken from every number before it is divided: one for all columns, or one for each.
        divide_by: what every number is divided by: one for all columns, or one for each.
        missing: rows with an empty cell (or NA, null, ?): dropped and counted, or refused with file and line.
        abnormal: rows with a cell that is neither empty nor a finite number, likewise.
        validation_path: files to validate on; null: a share of the rows, drawn by a hash.
        test_path: files to test on, likewise.
        columns: of csv and tsv whose first line is a row: the names of the columns.
    """

    needs = {"embedding": ("values",)}  # there are no ids to look up
    provides = ("values", "labels")

    def __init__(
        self,
        *,
        path: Path,
        label: str = "label",
        features: tuple[str, ...] = (),
        labels: tuple[str, ...] = (),
        subtract: tuple[float, ...] = (),
        divide_by: tuple[float, ...] = (),
        missing: Literal["drop", "refuse"] = "drop",
        abnormal: Literal["refuse", "drop"] = "refuse",
        validation_path: Path | None = None,
        test_path: Path | None = None,
        columns: tuple[str, ...] = (),
    ) -> None:
        self.tables = Tables(path, validation_path, test_path, columns, True)
        self.label, self.features, self.labels = label, list(features), tuple(labels)
        self.missing: OnFault = missing
        self.abnormal: OnFault = abnormal
        self.scale = Scale(subtract, divide_by)
        self.notes: list[str] = []

    def fingerprint(self) -> str:
        held = [self.label, self.features, self.labels, self.missing, self.abnormal, self.scale.subtract, self.scale.divide_by]
        return key_of("table", *held, *self.tables.fingerprint())

    def examples(self) -> Iterator[Example]:
        read = Columns(self.tables, self.features, [self.label], "label", self.missing, self.abnormal)
        for split, row in read:
            numbers = self.scale(read.numbers(row, read.features))
            yield Example((numbers,), read.label(row, label_of(row, self.label, self.labels)), row.origin, row.line, split)
        self.notes[:] = read.notes()
