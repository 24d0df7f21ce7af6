"""It needs the extra ``data``. Local means a folder or a file."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.registry import register
from components.corpus.document import Document
from components.corpus.store import key_of
from components.parts.data._hub import FromHub


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
        for _, row in self.hub.rows({self.split: None}, [self.field]):
            yield Document(row.text(self.field, "field") or "", row.origin)
