"""A question and its answer, or a sentence and its translation."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.registry import register
from components.core.signature import Path
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._examples import paired
from components.parts.data._splits import Tables


@register("data", "text_pairs")
class TextPairs:
    """The user's own pairs of texts, from tables (csv, tsv, jsonl, json, parquet).

    A file of two columns without a line of names: ``data.columns=[source,target]``.

    Args:
        path: a file, a folder (searched for tables that are not hidden), or a pattern such as ``pairs/*.tsv``.
        source: the column of the text that is given; ``a.b`` is field b of the object in column a.
        target: the column of the text that answers it.
        validation_path: files to validate on; null: a share of the pairs, drawn by a hash of the source.
        test_path: files to test on, likewise.
        columns: of csv and tsv whose first line is a row: the names of the columns.
        quotes: of csv and tsv: quotation marks around a cell belong to the format; false: they are part of the text.
    """

    provides = ("pairs",)

    def __init__(
        self,
        *,
        path: Path,
        source: str = "source",
        target: str = "target",
        validation_path: Path | None = None,
        test_path: Path | None = None,
        columns: tuple[str, ...] = (),
        quotes: bool = True,
    ) -> None:
        self.tables = Tables(path, validation_path, test_path, columns, quotes)
        self.source, self.target = source, target

    def fingerprint(self) -> str:
        return key_of("text_pairs", self.source, self.target, *self.tables.fingerprint())

    def examples(self) -> Iterator[Example]:
        for split, row in self.tables.rows([self.source, self.target]):
            yield paired(split, row, self.source, self.target)
