"""A rhyme of four lines: text that a network of numbered characters learns in seconds."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.registry import register
from components.corpus.document import Document
from components.corpus.store import key_of

# Any twelve characters of it are followed by one character alone, so that a window of twelve can be right everywhere.
RHYME = """\
humpty dumpty sat on the wall
and counted his buttons from big ones to small
one was of silver and two were of pearl
three he had lent to a left-handed girl
"""


@register("data", "rhyme")
class Rhyme:
    """A rhyme of four lines in lower case, one document: with nothing to hold out, it asks for ``task.validation_fraction=0``."""

    provides = ("text",)

    def fingerprint(self) -> str:
        return key_of("rhyme", RHYME)

    def documents(self) -> Iterator[Document]:
        yield Document(RHYME, "rhyme", 1)
