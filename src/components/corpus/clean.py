"""What cleaning says of what it drops or cuts: each case counted, with examples; and how an over-long document is cut."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from components.corpus.document import Document

EXAMPLES = 5
GLIMPSE = 40  # characters of a document that an example shows
REASONS = {
    "empty": "empty",
    "undecodable": "no UTF-8",
    "duplicates": "exact duplicates",
    "near_duplicates": "near-duplicates",
    "over_long": "over-long, cut into pieces",
    "unanswered": "without an answer",
    "abnormal": "with numbers that are not finite",
    "undecided": "whose two answers are equal",
    "conflicting": "with another answer to an input that was there already (kept)",
}
ONE = {"duplicates": "exact duplicate", "near_duplicates": "near-duplicate"}  # of them one alone
NO_UTF8 = re.compile("[\ud800-\udfff]")


@dataclass
class Report:
    """What cleaning found: ``counts`` and ``examples`` by reason, ``notes`` from the source and later steps. ``called`` names the
    items."""

    read: int = 0
    kept: int = 0  # documents after cutting
    characters: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    examples: dict[str, list[str]] = field(default_factory=lambda: {reason: [] for reason in REASONS})
    documents: dict[str, int] = field(default_factory=dict)  # by split
    notes: list[str] = field(default_factory=list)
    called: str = "documents"

    def met(self, reason: str, example: str) -> None:
        self.counts[reason] += 1
        if len(self.examples[reason]) < EXAMPLES:
            self.examples[reason].append(example)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For people: one line of totals, one line for each reason that occurred, then the notes."""
        splits = ", ".join(f"{n} {split}" for split, n in self.documents.items())
        lines = [
            f"{self.read} {self.called if self.read != 1 else self.called.removesuffix('s')} read, {self.kept} kept ({self.characters} characters)"
            + (f": {splits}" if splits else "")
        ]
        for reason, words in REASONS.items():
            if self.counts.get(reason):  # a report from the cache may be older than a reason
                words = ONE.get(reason, words) if self.counts[reason] == 1 else words
                lines.append(f"{self.counts[reason]} {words}, such as {'; '.join(self.examples[reason][:2])}")
        return lines + self.notes


def cut(text: str, max_chars: int) -> list[str]:
    """``text`` in pieces of at most ``max_chars``, cut at a blank line, else at a line's end, else at a space."""
    pieces = []
    start = 0
    while len(text) - start > max_chars:
        end = start + max_chars
        for mark in ("\n\n", "\n", " "):
            at = text.rfind(mark, start + max_chars // 2, end)
            if at >= 0:
                end = at + len(mark)
                break
        pieces.append(text[start:end])
        start = end
    return [p for p in (*pieces, text[start:]) if p]


def first_bad(document: Document) -> str:
    """Where the first lone surrogate of a document stands, and what it was."""
    bad = NO_UTF8.search(document.text)
    assert bad is not None
    code = ord(bad.group())
    what = f"byte 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"lone surrogate U+{code:04X}"
    line = document.text.count("\n", 0, bad.start()) + max(document.line, 1)
    return f"{document.origin}:{line} ({what})"


def glimpse(text: str, width: int = GLIMPSE) -> str:
    """The beginning of a text as an example shows it."""
    line = " ".join(text[: 2 * width].split())
    return repr(line if len(line) <= width else line[: width - 1] + "…")
