"""A question and its answer, or a sentence and its translation."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.registry import register
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._examples import paired
from components.parts.data._from_tables import FromTexts


@register("data", "text_pairs")
class TextPairs(FromTexts):
    """The user's own pairs of texts, from tables (csv, tsv, jsonl, json, parquet).

    A file of two columns without a line of names: ``data.columns=[source,target]``.

    Args:
        path: a file, a folder (searched for tables that are not hidden), or a pattern such as ``pairs/*.tsv``.
        source: the column of the text that is given; ``a.b`` is field b of the object in column a.
        target: the column of the text that answers it.
    """

    provides = ("pairs",)

    source: str = "source"
    target: str = "target"

    def fingerprint(self) -> str:
        return key_of("text_pairs", self.source, self.target, *self.tables.fingerprint())

    def examples(self) -> Iterator[Example]:
        for split, row in self.tables.rows([self.source, self.target]):
            yield paired(split, row, self.source, self.target)
