"""For regression on the rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from components.core.registry import register
from components.core.signature import Path
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._numbers import Columns, OnFault, Scale
from components.parts.data._splits import Tables


@register("data", "table_amounts")
class TableAmounts:
    """The user's own table: columns of numbers, and columns of amounts to be told from them (regression).

    A row is one position of as many numbers as there are features. Numbers and amounts are taken as they are but for ``subtract``,
    ``divide_by`` and ``targets_divide_by``; the report names the range of every column.

    Args:
        path: a file, a folder (searched for tables that are not hidden), or a pattern such as ``houses/*.csv``.
        targets: the columns of the amounts.
        features: the columns of numbers, in this order; none given: every other column that has a number in it.
        subtract: taken from every number before it is divided: one for all columns, or one for each.
        divide_by: what every number is divided by: one for all columns, or one for each.
        targets_divide_by: what every amount is divided by, likewise; errors are measured in these units.
        missing: rows with an empty cell (or NA, null, ?): dropped and counted, or refused with file and line.
        abnormal: rows with a cell that is neither empty nor a finite number, likewise.
        validation_path: files to validate on; null: a share of the rows, drawn by a hash.
        test_path: files to test on, likewise.
        columns: of csv and tsv whose first line is a row: the names of the columns.
    """

    needs = {"embedding": ("values",)}  # there are no ids to look up
    provides = ("values", "amounts")

    def __init__(
        self,
        *,
        path: Path,
        targets: tuple[str, ...] = ("target",),
        features: tuple[str, ...] = (),
        subtract: tuple[float, ...] = (),
        divide_by: tuple[float, ...] = (),
        targets_divide_by: tuple[float, ...] = (),
        missing: Literal["drop", "refuse"] = "drop",
        abnormal: Literal["refuse", "drop"] = "refuse",
        validation_path: Path | None = None,
        test_path: Path | None = None,
        columns: tuple[str, ...] = (),
    ) -> None:
        if not targets:
            raise ValueError("targets is empty: name the column that is to be told")
        self.tables = Tables(path, validation_path, test_path, columns, True)
        self.targets, self.features = list(targets), list(features)
        self.missing: OnFault = missing
        self.abnormal: OnFault = abnormal
        self.scale, self.answer_scale = Scale(subtract, divide_by), Scale((), targets_divide_by, "targets_divide_by")
        self.notes: list[str] = []

    def fingerprint(self) -> str:
        scales = [self.scale.subtract, self.scale.divide_by, self.answer_scale.divide_by]
        held = [self.targets, self.features, self.missing, self.abnormal, *scales]
        return key_of("table_amounts", *held, *self.tables.fingerprint())

    def examples(self) -> Iterator[Example]:
        read = Columns(self.tables, self.features, self.targets, "targets", self.missing, self.abnormal)
        for split, row in read:
            numbers = self.scale(read.numbers(row, read.features))
            amounts = self.answer_scale(read.numbers(row, self.targets))
            yield Example((numbers,), amounts, row.origin, row.line, split)
        self.notes[:] = read.notes()
