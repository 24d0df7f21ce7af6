"""Files in ranges: each a part of a file that begins and ends where a document does, so that large files are read in pieces, and by several processes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from components.core.errors import UserError
from components.core.files import reason
from components.corpus.document import Document
from components.parts.data._files import PACKED, TABLES, decoded, end_of_piece, kind_of, paragraphs, pieces, read_bytes
from components.parts.data._tables import groups_of, rows_of

NEAR = 2**20  # characters at the end of a block in which a blank line is looked for first
BLANK = re.compile(r"\n[ \t]*\n\s*")


@dataclass(frozen=True)
class Range:
    """Bytes (of parquet: row groups) ``start`` to before ``end`` of a file; None: the whole file. ``line``: the first of them, from 1.

    ``size``: bytes, about. ``documents``: of the last range of a file, how many the file has; 0 where nobody counted them.
    """

    file: Path
    size: int
    start: int | None = None
    end: int | None = None
    line: int = 1
    documents: int = 0


@dataclass
class Part:
    """Ranges that are read one after another: a shard of a source.

    Args:
        ranges: of one or several files.
        column: the one that holds the text of a table's row.
        split_on: file, blank_lines, lines or pieces.
        size: characters of a piece.
        notes: for the report.
    """

    ranges: Sequence[Range]
    column: str
    split_on: str
    size: int = 0
    notes: list[str] = field(default_factory=list)

    def documents(self) -> Iterator[Document]:
        self.notes.clear()
        for one in self.ranges:
            n = 0
            for document in self._of(one):
                n += 1
                yield document
            n = one.documents if one.start is not None else n
            if self.split_on == "pieces" and not is_table(one.file) and n > 1:
                self.notes.append(cut_note(str(one.file), n, self.size))

    def _of(self, one: Range) -> Iterator[Document]:
        if not is_table(one.file):
            yield from documents_of(_text(one), str(one.file), one.line, self.split_on, self.size)
            return
        for row in rows_of(one.file, [self.column], part=None if one.start is None else (one.start, one.end or 0, one.line)):
            yield Document(row.text(self.column, "field") or "", row.origin, row.line)


@dataclass
class Typed:
    """Text from standard input. The options are those of ``Part``."""

    data: bytes
    split_on: str
    size: int
    notes: list[str] = field(default_factory=list)

    def documents(self) -> Iterator[Document]:
        self.notes.clear()
        n = 0
        for document in documents_of(decoded(self.data), "<stdin>", 1, self.split_on, self.size):
            n += 1
            yield document
        if self.split_on == "pieces" and n > 1:
            self.notes.append(cut_note("<stdin>", n, self.size))


def cut_note(origin: str, n: int, size: int) -> str:
    return f"{origin}: cut at blank lines into {n} documents of about {size} characters, so that some can be held out"


def is_table(file: Path) -> bool:
    return kind_of(file) in TABLES


def documents_of(text: str, origin: str, line: int, split_on: str, size: int) -> Iterator[Document]:
    """The documents of plain text that begins in this line of ``origin``."""
    if split_on == "lines":
        yield from (Document(t, origin, n) for n, t in enumerate(text.split("\n"), line) if t.strip())
    elif split_on == "blank_lines":
        yield from (Document(t, origin, n) for n, t in paragraphs(text, line))
    elif split_on == "pieces" and text:
        yield from (Document(t, origin, n) for n, t in pieces(text, size, line))
    else:
        yield Document(text, origin, line)


def ranges_of(file: Path, column: str, split_on: str, piece: int, size: int) -> Iterator[Range]:
    """A file in ranges of about ``size`` bytes, in order. Only as much of it is held."""
    kind, whole = kind_of(file), file.stat().st_size
    if kind == ".parquet" and 4 * whole > size:  # it is packed
        for start, end, line, held in groups_of(file, [column], size):
            yield Range(file, held, start, end, line)
    elif whole <= size or file.suffix.lower() in PACKED:
        yield Range(file, whole)
    elif kind in (".jsonl", ".ndjson"):
        yield from _by_line(file, size, normal=False)
    elif kind in TABLES or split_on == "file":
        yield Range(file, whole)
    elif split_on == "lines":
        yield from _by_line(file, size, normal=True)
    else:
        yield from _by_text(file, size, piece if split_on == "pieces" else 0)


def grouped(ranges: Iterable[Range], size: int) -> Iterator[list[Range]]:
    """Neighbours together, up to about ``size`` bytes."""
    held: list[Range] = []
    for one in ranges:
        if held and sum(r.size for r in held) + one.size > size:
            yield held
            held = []
        held.append(one)
    if held:
        yield held


def _text(one: Range) -> str:
    if one.start is None or one.end is None:
        return decoded(read_bytes(one.file))
    try:
        with one.file.open("rb") as f:
            f.seek(one.start)
            return decoded(f.read(one.end - one.start), first=one.start == 0)
    except OSError as e:
        raise UserError(str(one.file), f"cannot be read ({reason(e)})") from None


def _by_line(file: Path, size: int, *, normal: bool) -> Iterator[Range]:
    """Cut after a line's end. ``normal``: a carriage return alone ends a line as well, as ``decoded`` has it."""
    start, line = 0, 1
    with file.open("rb") as f:
        while block := f.read(size):
            block += f.readline()
            yield Range(file, len(block), start, start + len(block), line)
            start += len(block)
            line += block.count(b"\n") + (block.count(b"\r") - block.count(b"\r\n") if normal else 0)


def _by_text(file: Path, size: int, piece: int) -> Iterator[Range]:
    """Cut where paragraphs end, or pieces of ``piece`` characters. A file with carriage returns stays whole: its text is shorter than its bytes."""
    made: list[Range] = []
    start, line, count = 0, 1, 0
    text = ""
    with file.open("rb") as f:
        while True:
            block = f.read(size)
            block += f.readline()
            if b"\r" in block:
                yield Range(file, file.stat().st_size)
                return
            text += decoded(block, first=start == 0 and not text)
            found, n = (len(text), 0) if not block and not piece else _cut(text, piece, last=not block)
            count += n
            if found:
                held = text[:found]
                length = len(held.encode("utf8", errors="surrogateescape"))
                length += 3 if start == 0 and _marked(file) else 0
                made.append(Range(file, length, start, start + length, line))
                start, line, text = start + length, line + held.count("\n"), text[found:]
            if not block:
                break
    yield from made[:-1]
    yield from (replace(one, documents=count) for one in made[-1:])


def _marked(file: Path) -> bool:
    """Whether it begins with a byte order mark."""
    with file.open("rb") as f:
        return f.read(3) == b"\xef\xbb\xbf"


def _cut(text: str, piece: int, *, last: bool) -> tuple[int, int]:
    """(where a document of ``text`` ends whatever follows it, pieces up to there); 0 where more must be read. ``last``: nothing follows."""
    if not piece:
        ends = [m.end() for m in BLANK.finditer(text, max(0, len(text) - NEAR)) if m.end() < len(text)]
        ends = ends or [m.end() for m in BLANK.finditer(text) if m.end() < len(text)]
        return (ends[-1] if ends else 0), 0
    at = n = 0
    while at < len(text) and (last or len(text) - at > 3 * piece):
        at, n = end_of_piece(text, at, piece), n + 1
    return at, n
