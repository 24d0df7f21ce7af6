"""Words and the last words of sentences, found in any text with spaces between its words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

WORD = r"[^\W\d_]+(?:['’][^\W\d_]+)*"
WORDS = re.compile(WORD)
ENDS = {
    "sentence": re.compile(rf"(?<=\s)({WORD})([.!?…]+[\"'”’)\]]*)(?=\s|$)"),
    "line": re.compile(rf"(?<=\s)({WORD})([^\w\s]*)[ \t]*(?=\n|$)"),
}
STARTS = {"sentence": re.compile(r"[.!?…][\"'”’)\]]*\s|\n\s*\n"), "line": re.compile(r"\n")}
PIECES = re.compile(r"\n|[.!?…][\"'”’)\]]*\s")


class Span(NamedTuple):
    """A piece of the document number ``document``. Cut out when it is asked for, since a document may be a book."""

    document: int
    text: str
    start: int
    end: int

    @property
    def before(self) -> str:
        return self.text[: self.start]

    @property
    def piece(self) -> str:
        return self.text[self.start : self.end]


class Last(NamedTuple):
    """The last word of a sentence: where it is, and the marks ``after`` it that end the sentence."""

    span: Span
    word: str
    after: str


def last_words(texts: Iterable[str], unit: str, at_least: int) -> Iterator[Last]:
    """Of each sentence (or line) with ``at_least`` words before the last."""
    for number, text in enumerate(texts):
        starts, at = [0, *(m.end() for m in STARTS[unit].finditer(text))], 0
        for found in ENDS[unit].finditer(text):
            while at + 1 < len(starts) and starts[at + 1] <= found.start(1):
                at += 1
            if len(WORDS.findall(text, starts[at], found.start(1))) >= at_least:
                yield Last(Span(number, text, found.start(1), found.end(2)), found[1], found[2])


def pieces(texts: Iterable[str]) -> Iterator[Span]:
    """Lines, and sentences where a line has several, each with what ends it."""
    for number, text in enumerate(texts):
        ends = [*(m.end() for m in PIECES.finditer(text)), len(text)]
        yield from (Span(number, text, a, b) for a, b in zip([0, *ends], ends) if b > a)
