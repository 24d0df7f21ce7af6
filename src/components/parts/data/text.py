"""A file, a folder, a pattern or standard input."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path as File
from typing import Literal

from components.core.registry import register
from components.core.signature import Path
from components.corpus.contents import hash_of
from components.corpus.document import Document
from components.corpus.store import key_of
from components.parts.data._files import PLAIN, TABLES, decoded, files_of, need_memory, paragraphs, pieces, read_bytes
from components.parts.data._tables import rows_of

FEW = 50  # with fewer files than this, whole files leave too little choice for a validation split
PIECES = 400  # into how many pieces a few files are cut
SHORTEST, LONGEST = 200, 4000  # characters of such a piece


@register("data", "text")
class Text:
    """The user's own text: plain files, or tables (jsonl, json, csv, tsv, parquet).

    Args:
        path: a file, a folder (searched for text files that are not hidden), a pattern such as ``books/**/*.txt``, or ``-`` for
            standard input.
        field: the column of a table that holds the text.
        split_on: what is a document in plain text: each file, each paragraph (blank_lines) or each line. auto: the file, but
            fewer than 50 files are cut at blank lines into pieces, so that some can be held out.
    """

    provides = ("text",)

    def __init__(
        self, *, path: Path, field: str = "text", split_on: Literal["auto", "file", "blank_lines", "lines"] = "auto"
    ) -> None:
        self.path, self.field, self.split_on = os.path.expanduser(path), field, split_on
        self.notes: list[str] = []
        # compose makes paths absolute, and no file is called "-" alone
        self.stdin = sys.stdin.buffer.read() if os.path.basename(self.path) == "-" and not os.path.exists(self.path) else None

    def files(self) -> list[File]:
        """What ``path`` names, sorted. UserError if that is nothing."""
        return files_of(self.path, PLAIN | TABLES, "text file")

    def fingerprint(self) -> str:
        held = [self.field, self.split_on]
        if self.stdin is not None:
            return key_of("stdin", *held, hashlib.blake2b(self.stdin).hexdigest())
        files = self.files()
        for file in files:
            if file.suffix.lower() not in TABLES:
                need_memory(file)
        return key_of("text", *held, hash_of(f.resolve() for f in files))

    def documents(self) -> Iterator[Document]:
        self.notes.clear()
        if self.stdin is not None:
            yield from self._plain("<stdin>", self.stdin, self._piece_size(1, len(self.stdin)))
            return
        files = self.files()
        plain = [f for f in files if f.suffix.lower() not in TABLES]
        size = self._piece_size(len(plain), sum(f.stat().st_size for f in plain))
        for file in files:
            if file.suffix.lower() in TABLES:
                for row in rows_of(file, [self.field]):
                    yield Document(row.text(self.field, "field") or "", row.origin, row.line)
            else:
                yield from self._plain(str(file), read_bytes(file), size)

    def _piece_size(self, files: int, n_bytes: int) -> int | None:
        """Characters of a piece, or None if files stay whole."""
        if self.split_on != "auto" or files == 0 or files >= FEW:
            return None
        return max(SHORTEST, min(LONGEST, n_bytes // PIECES))

    def _plain(self, origin: str, data: bytes, size: int | None) -> Iterator[Document]:
        text = decoded(data)
        if self.split_on == "lines":
            yield from (Document(t, origin, n) for n, t in enumerate(text.split("\n"), 1) if t.strip())
        elif self.split_on == "blank_lines":
            yield from (Document(t, origin, n) for n, t in paragraphs(text))
        elif size is None or not text:
            yield Document(text, origin, 1)
        else:
            n = 0
            for line, piece in pieces(text, size):
                n += 1
                yield Document(piece, origin, line)
            if n > 1:
                self.notes.append(
                    f"{origin}: cut at blank lines into {n} documents of about {size} characters, so that some can be held out"
                )
