"""What the sources that read the user's own tables have in common: which files are held out, and how a table without a line of names is read."""

from __future__ import annotations

from typing import Literal

from components.core.options import Options
from components.core.signature import Path
from components.parts.data._numbers import Columns, Scale
from components.parts.data._splits import Tables
from components.parts.data._tables import Layout


class FromTables(Options):
    """A source that reads tables of the user's.

    Args:
        path: a file, a folder (searched for tables that are not hidden), or a pattern such as ``some/*.jsonl``.
        validation_path: files to validate on; null: a share of the examples, drawn by a hash.
        test_path: files to test on, likewise.
    """

    validation_path: Path | None = None
    test_path: Path | None = None

    def __init__(self, *, path: Path) -> None:
        self.tables = Tables(path, self.validation_path, self.test_path, self.layout)
        self.notes: list[str] = []

    @property
    def layout(self) -> Layout:
        return Layout()


class FromColumns(FromTables):
    """Such a source that is told which columns to take.

    Args:
        columns: of csv and tsv whose first line is a row: the names of the columns.
    """

    columns: tuple[str, ...] = ()

    @property
    def layout(self) -> Layout:
        return Layout(tuple(self.columns))


class FromTexts(FromColumns):
    """Such a source whose cells are texts.

    Args:
        quotes: of csv and tsv: quotation marks around a cell belong to the format; false: they are part of the text.
    """

    quotes: bool = True

    @property
    def layout(self) -> Layout:
        return Layout(tuple(self.columns), self.quotes)


class FromNumbers(FromColumns):
    """Such a source whose cells are numbers, and whose rows are one position each: as many numbers as there are features.

    Args:
        features: the columns of numbers, in this order; none given: every other column that has a number in it.
        subtract: taken from every number before it is divided: one for all columns, or one for each.
        divide_by: what every number is divided by: one for all columns, or one for each.
        missing: rows with an empty cell (or NA, null, ?): dropped and counted, or refused with file and line.
        abnormal: rows with a cell that is neither empty nor a finite number, likewise.
    """

    needs = {"embedding": ("values",)}  # there are no ids to look up

    features: tuple[str, ...] = ()
    subtract: tuple[float, ...] = ()
    divide_by: tuple[float, ...] = ()
    missing: Literal["drop", "refuse"] = "drop"
    abnormal: Literal["refuse", "drop"] = "refuse"

    def __init__(self, *, path: Path) -> None:
        super().__init__(path=path)
        self.scale = Scale(self.subtract, self.divide_by)

    def read(self, answers: list[str], option: str) -> Columns:
        """The rows, with the columns of the answers, which ``option`` names."""
        return Columns(self.tables, list(self.features), answers, option, self.missing, self.abnormal)
