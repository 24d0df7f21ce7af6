"""It needs the extra ``data``. Local means a folder or a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from components.core.registry import register
from components.corpus.document import Document
from components.corpus.shards import SIZE, Shard
from components.corpus.store import key_of
from components.parts.data._hub import FromHub, Hub, HubPart


@register("data", "hf")
class HF(FromHub):
    """A text column of a Hugging Face data set, from the hub or local; each row is a document.

    A hub data set is taken to stay as it is under its name and revision: give a revision where that matters.

    Args:
        path: a hub id (``roneneldan/TinyStories``), a folder (of data files, or made by ``save_to_disk``), or a data file.
        split: which split to read; slices such as ``train[:1%]`` work.
        field: the column that holds the text.
    """

    provides = ("text",)

    field: str = "text"

    def fingerprint(self) -> str:
        return key_of("hf", *self.hub.fingerprint(), self.split, self.field)

    def documents(self) -> Iterator[Document]:
        for shard in self.shards(SIZE):
            yield from shard.documents()

    def shards(self, size: int) -> Sequence[Shard]:
        """Ranges of rows; the files of a data set that is streamed."""
        return [RowsOf(self.hub, self.split, self.field, part) for part in self.hub.parts(self.split, size)]


@dataclass
class RowsOf:
    """The documents of a part of a split; None: of all of it."""

    hub: Hub
    split: str
    field: str
    part: HubPart | None
    notes: Sequence[str] = ()

    def documents(self) -> Iterator[Document]:
        for _, row in self.hub.rows({self.split: None}, [self.field], self.part):
            yield Document(row.text(self.field, "field") or "", row.origin)
