"""Columns of numbers: which there are, what is missing or no number in them, and their scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from components.core.errors import UserError, nearest
from components.parts.data._splits import Tables
from components.parts.data._tables import Row

MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-"}  # what tables write where they have nothing
OnFault = Literal["drop", "refuse"]


class Columns:
    """The numbers of each row of the user's tables, which are read twice: a list of all cells would be many times the file.

    Args:
        tables: the files.
        features: the columns to read; none given: all that hold any number, but for ``others``.
        others: the columns of the answers.
        answer: the option that names them.
        missing: whether rows with an empty cell are left to cleaning, which drops and counts them, or refused.
        abnormal: likewise, of cells that are neither empty nor a number.
    """

    def __init__(
        self, tables: Tables, features: Sequence[str], others: Sequence[str], answer: str, missing: OnFault, abnormal: OnFault
    ) -> None:
        self.tables, self.wanted = tables, [*features, *others] if features else ()
        self.missing: OnFault = missing
        self.abnormal: OnFault = abnormal
        self.met: dict[str, list[str]] = {"that are empty": [], "that are no numbers": []}
        self.spans: dict[str, list[float]] = {}
        self.left: list[str] = []
        first: Row | None = None
        there: dict[str, None] = {}
        numeric: set[str] = set()
        for _, row in self:
            first = first or row
            there.update(dict.fromkeys(row.cells))
            if not features:
                numeric.update(n for n, cell in row.cells.items() if n not in numeric and _finite(cell))
        for option, names in (("features", features), (answer, others)):
            if first is not None and (unknown := [n for n in names if n not in there]):
                instead = f"{nearest(unknown[0], there, called='columns')}; choose by data.{option}={first.hint}"
                raise UserError(first.where, f"has no column {unknown[0]!r}", instead)
        if not features:
            features = [n for n in there if n in numeric and n not in others]
            self.left = [n for n in there if n not in numeric and n not in others]
        if first is not None and not features:
            raise UserError(first.origin, "has no column of numbers", "one number in each cell, written with a point")
        self.features = list(features)

    def __iter__(self) -> Iterator[tuple[str | None, Row]]:
        return iter(self.tables.rows(self.wanted))

    def numbers(self, row: Row, names: Sequence[str]) -> tuple[float, ...]:
        """The cells as numbers, NaN for every other cell. UserError where the options refuse such cells."""
        return tuple(self._at(row, name) for name in names)

    def _at(self, row: Row, name: str) -> float:
        cell = row.cells.get(name)
        if is_missing(cell):
            return self._fault(row, f"column {name!r} is empty", "missing", self.missing, "that are empty", name)
        value = _number(cell)
        if value is None or not math.isfinite(value):
            what = f"column {name!r} holds {_short(cell)}, which is no number"
            return self._fault(row, what, "abnormal", self.abnormal, "that are no numbers", f"{name}={_short(cell)}")
        span = self.spans.setdefault(name, [value, value])
        span[:] = [min(span[0], value), max(span[1], value)]
        return value

    def label(self, row: Row, label: str | None) -> str | None:
        """The label, if there is one. UserError where there must be."""
        if label is None:
            self._fault(row, "the label is empty", "missing", self.missing, "that are empty", "label")
        return label

    def _fault(self, row: Row, what: str, option: str, do: OnFault, word: str, example: str) -> float:
        if do == "refuse":
            raise UserError(
                row.where, what, f"data.{option}=drop leaves such rows out; or name the columns: data.features=[...]"
            )
        self.met[word].append(f"{row.where} ({example})")
        return math.nan

    def notes(self) -> list[str]:
        """For the report, once every row was read: columns with their ranges, those left out, cells that are missing or abnormal."""
        lines = ["columns as they stand: " + ", ".join(f"{n} {a:g} to {b:g}" for n, (a, b) in self.spans.items())]
        if self.left:
            lines.append(f"columns left out, without a number in them: {', '.join(self.left)}")
        lines += [
            f"cells {word}: {len(at)}, such as {'; '.join(at[:2])}; their rows are left out"
            for word, at in self.met.items()
            if at
        ]
        return lines


class Scale:
    """(number - ``subtract``) / ``divide_by``: fixed figures that are part of the config, so nothing is learnt from held-out rows.

    Args:
        subtract: none, one for all columns, or one for each.
        divide_by: likewise; none of them 0.
        option: the name of ``divide_by``, for messages.
    """

    def __init__(self, subtract: Sequence[float], divide_by: Sequence[float], option: str = "divide_by") -> None:
        if 0 in divide_by:
            raise ValueError(f"{option}={list(divide_by)} has a 0 in it")
        self.subtract, self.divide_by, self.option = list(subtract), list(divide_by), option

    def __call__(self, numbers: tuple[float, ...]) -> tuple[float, ...]:
        less, over = (self._each(len(numbers), given, rest, name) for given, rest, name in self._given())
        return tuple((v - a) / b for v, a, b in zip(numbers, less, over))

    def _given(self) -> Iterator[tuple[list[float], float, str]]:
        yield self.subtract, 0.0, "subtract"
        yield self.divide_by, 1.0, self.option

    @staticmethod
    def _each(n: int, given: list[float], rest: float, name: str) -> list[float]:
        if len(given) not in (0, 1, n):
            raise UserError(f"data.{name}", f"{len(given)} numbers for {n} columns", "give none, one, or one for each column")
        return (given or [rest]) * (n if len(given) < 2 else 1)


def is_missing(cell: object) -> bool:
    """Nothing there, or a word that tables write for nothing."""
    if isinstance(cell, str):
        return cell.strip().lower() in MISSING
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _number(cell: object) -> float | None:
    """The cell as a number, if it is written as one."""
    if isinstance(cell, (bool, int, float)):
        return float(cell)
    if isinstance(cell, str) and "_" not in cell:  # Python alone reads 1_000
        try:
            return float(cell)
        except ValueError:
            return None
    return None


def _short(cell: object) -> str:
    text = repr(cell)
    return text if len(text) <= 30 else text[:29] + "…"


def _finite(cell: object) -> bool:
    value = _number(cell)
    return value is not None and math.isfinite(value)
