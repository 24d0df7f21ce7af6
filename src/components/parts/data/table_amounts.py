"""For regression on the rows of a table."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.registry import register
from components.core.signature import Path
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._from_tables import FromNumbers
from components.parts.data._numbers import Scale


@register("data", "table_amounts")
class TableAmounts(FromNumbers):
    """The user's own table: columns of numbers, and columns of amounts to be told from them (regression).

    A row is one position of as many numbers as there are features. Numbers and amounts are taken as they are but for ``subtract``,
    ``divide_by`` and ``targets_divide_by``; the report names the range of every column.

    Args:
        path: a file, a folder (searched for tables that are not hidden), or a pattern such as ``houses/*.csv``.
        targets: the columns of the amounts.
        targets_divide_by: what every amount is divided by, likewise; errors are measured in these units.
    """

    provides = ("values", "amounts")

    targets: tuple[str, ...] = ("target",)
    targets_divide_by: tuple[float, ...] = ()

    def __init__(self, *, path: Path) -> None:
        if not self.targets:
            raise ValueError("targets is empty: name the column that is to be told")
        super().__init__(path=path)
        self.answer_scale = Scale((), self.targets_divide_by, "targets_divide_by")

    def fingerprint(self) -> str:
        scales = [self.scale.subtract, self.scale.divide_by, self.answer_scale.divide_by]
        held = [list(self.targets), list(self.features), self.missing, self.abnormal, *scales]
        return key_of("table_amounts", *held, *self.tables.fingerprint())

    def examples(self) -> Iterator[Example]:
        read = self.read(list(self.targets), "targets")
        for split, row in read:
            numbers = self.scale(read.numbers(row, read.features))
            amounts = self.answer_scale(read.numbers(row, list(self.targets)))
            yield Example((numbers,), amounts, row.origin, row.line, split)
        self.notes[:] = read.notes()
