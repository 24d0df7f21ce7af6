"""A file, a folder, a pattern or standard input."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path as File
from typing import Literal

from components.core.errors import UserError
from components.core.registry import register
from components.core.signature import Path
from components.corpus.contents import hash_of
from components.corpus.document import Document
from components.corpus.shards import SIZE, Shard
from components.corpus.store import key_of
from components.parts.data._files import PLAIN, TABLES, files_of, need_memory
from components.parts.data._ranges import Part, Typed, grouped, is_table, ranges_of

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
        """What ``path`` names, sorted. UserError if that is nothing, or nothing that an option is about."""
        files = files_of(self.path, PLAIN | TABLES, "text file")
        tables = sum(map(is_table, files))
        if tables == 0:
            self._require_no_field(self.path)
        if tables == len(files) and self.split_on != "auto":
            raise UserError("data.split_on", f"{self.path}: a row of a table is a document", "leave it out, or say auto")
        return files

    def _require_no_field(self, named: str) -> None:
        if self.field != "text":  # somebody has said one
            raise UserError(
                "data.field",
                f"{named} is plain text, which has no fields",
                "leave it out, or give jsonl, json, csv, tsv or parquet",
            )

    def fingerprint(self) -> str:
        held = [self.field, self.split_on]
        if self.stdin is not None:
            self._require_no_field("what comes from standard input")
            return key_of("stdin", *held, hashlib.blake2b(self.stdin).hexdigest())
        files = self.files()
        for file in files:
            if not is_table(file) and self.split_on == "file":
                need_memory(file)
        return key_of("text", *held, hash_of(f.resolve() for f in files))

    def documents(self) -> Iterator[Document]:
        self.notes.clear()
        for shard in self._parts(SIZE):
            yield from shard.documents()
            self.notes += shard.notes

    def shards(self, size: int) -> Sequence[Shard]:
        """Files, and ranges of those that are larger."""
        return [self] if self.stdin is not None else [*self._parts(size)]

    def _parts(self, size: int) -> Iterator[Shard]:
        if self.stdin is not None:
            yield Typed(self.stdin, *self._way(1, len(self.stdin)))
            return
        files = self.files()
        plain = [f for f in files if not is_table(f)]
        way, piece = self._way(len(plain), sum(f.stat().st_size for f in plain))
        ranges = (one for file in files for one in ranges_of(file, self.field, way, piece, size))
        yield from (Part(held, self.field, way, piece) for held in grouped(ranges, size))

    def _way(self, files: int, n_bytes: int) -> tuple[str, int]:
        """(how plain text is divided, characters of a piece)."""
        if self.split_on != "auto":
            return self.split_on, 0
        return ("file", 0) if files == 0 or files >= FEW else ("pieces", max(SHORTEST, min(LONGEST, n_bytes // PIECES)))
