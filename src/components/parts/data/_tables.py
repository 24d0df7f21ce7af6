"""Reading the rows of a table from one file: jsonl, json, csv, tsv, parquet. Every fault names the file and the line."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from components.core.errors import UserError, nearest
from components.core.extras import lacking
from components.core.files import reason
from components.parts.data._files import PACKED, decoded, kind_of, read_bytes


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of a row by column, and where it stands.

    ``hint``: what may help where a column is not found. ``padded``: objects within a column all have the same keys, and None where they lack one.
    """

    cells: dict[str, Any]
    origin: str
    line: int = 0
    hint: str = ""
    padded: bool = False

    @property
    def where(self) -> str:
        return f"{self.origin}:{self.line}" if self.line else self.origin

    def cell(self, name: str, option: str) -> Any:
        """A cell; of an object within a cell by a dot, ``translation.fr``. UserError if the row has no such column."""
        found: Any = self.cells
        for word in [name] if name in self.cells else name.split("."):
            if not isinstance(found, dict) or word not in found:
                instead = f"{nearest(name, self.cells, called='fields')}; choose by data.{option}={self.hint}"
                raise UserError(self.where, f"has no field {name!r}", instead)
            found = found[word]
        return found

    def text(self, name: str, option: str) -> str | None:
        """A cell that holds text, or nothing. UserError where it holds something else."""
        value = self.cell(name, option)
        if value is not None and not isinstance(value, str):
            raise UserError(self.where, f"field {name!r} is no text but {type(value).__name__}")
        return value


@dataclass(frozen=True)
class Layout:
    """How csv and tsv are written, where a user may say so.

    Args:
        columns: the names of the columns of a file whose first line is a row.
        quotes: quotation marks around a cell are the format's; else they are text, and no cell holds the delimiter.
    """

    columns: Sequence[str] = ()
    quotes: bool = True


def rows_of(
    file: Path, columns: Sequence[str] = (), layout: Layout | None = None, *, part: tuple[int, int, int] | None = None
) -> Iterator[Row]:
    """Every row of a file, by its suffix.

    Args:
        file: whatever its suffix does not tell is read as csv.
        columns: those that are wanted: of parquet no other is read.
        layout: of csv and tsv; None: the usual one, which cannot be changed.
        part: (start, end, number of the first row): bytes of jsonl that end with a line, or row groups of parquet; None: the whole file.
    """
    suffix = kind_of(file)
    if suffix in (".jsonl", ".ndjson"):
        return _jsonl(file, part)
    if suffix == ".json":
        return _json(file)
    if suffix == ".parquet":
        return _parquet(file, columns, part)
    return _csv(file, "\t" if suffix == ".tsv" else ",", layout)


def _jsonl(file: Path, part: tuple[int, int, int] | None) -> Iterator[Row]:
    start, end, first = part or (0, None, 1)
    try:
        with _opened(file) as f:
            f.seek(start) if start else None
            left = None if end is None else end - start
            for number, line in enumerate(f, first):
                if left is not None and left <= 0:
                    return
                left = None if left is None else left - len(line)
                if line.isspace():
                    continue
                where = f"{file}:{number}"
                yield Row(_object(_parsed(line, where), where), str(file), number)
    except (OSError, EOFError) as e:
        raise UserError(str(file), f"cannot be read: {reason(e) if isinstance(e, OSError) else e}") from None


def _opened(file: Path) -> IO[bytes]:
    """The bytes of a file, unpacked where it is packed."""
    packed = PACKED.get(file.suffix.lower())
    if packed == "gzip":
        return cast(IO[bytes], gzip.open(file, "rb"))
    if packed is None:
        return file.open("rb")
    try:
        import pyarrow as pa
    except ImportError:
        raise lacking(str(file), "reading .zst needs pyarrow", "pyarrow") from None
    return cast(
        IO[bytes], io.BufferedReader(pa.input_stream(str(file), compression=packed))
    )  # it has all that a raw stream has


def _json(file: Path) -> Iterator[Row]:
    rows = _parsed(read_bytes(file), str(file), "one object a line: name it .jsonl")
    if not isinstance(rows, list):
        raise UserError(str(file), f"holds no list of objects but {type(rows).__name__}")
    for i, row in enumerate(rows):
        yield Row(_object(row, f"{file}[{i}]"), f"{file}[{i}]")


def _parsed(data: bytes, where: str, instead: str = "") -> Any:
    try:
        return json.loads(decoded(data))
    except json.JSONDecodeError as e:
        raise UserError(f"{where}:{e.lineno}" if instead else where, f"is no JSON: {e.msg}", instead) from None
    except (ValueError, RecursionError, MemoryError) as e:  # a number of 5,000 digits, a list in a list in a list ...
        what = "nested too deeply" if isinstance(e, RecursionError) else str(e).split(";")[0] or "too large"
        raise UserError(where, f"is no JSON that can be read ({what})") from None


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(where, f"is no object but {type(row).__name__}", 'each row is {"field": value, ...}')
    return row


def _csv(file: Path, delimiter: str, layout: Layout | None) -> Iterator[Row]:
    own = layout or Layout()
    csv.field_size_limit(2**31 - 1)
    text = io.StringIO(decoded(read_bytes(file)), newline="")
    quoting = csv.QUOTE_MINIMAL if own.quotes else csv.QUOTE_NONE
    reader = csv.reader(text, delimiter=delimiter, strict=True, quoting=quoting)
    names: list[str] = list(own.columns)
    hint = "" if layout is None or names else ", or name those of a file without a line of names: data.columns=[...]"
    start = 1
    try:
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not cells:
                continue
            if not names:
                names = _names(cells, f"{file}:{line}")
                continue
            if len(cells) > len(names) and any(cells[len(names) :]):
                what = f"has {len(cells)} cells where {'columns' if own.columns else 'the first line'} names {len(names)}"
                raise UserError(f"{file}:{line}", what, "put a cell that holds the delimiter into quotation marks")
            row = dict(zip(names, [*cells, *([None] * (len(names) - len(cells)))]))
            row.pop("", None)
            yield Row(row, str(file), line, hint)
    except csv.Error as e:
        instead = "if quotation marks are part of the text: quotes=false" if layout is not None and own.quotes else ""
        raise UserError(f"{file}:{reader.line_num}", f"is no table: {e}", instead) from None


def _names(cells: list[str], where: str) -> list[str]:
    twice = [n for i, n in enumerate(cells) if n and n in cells[:i]]
    if twice:
        raise UserError(where, f"names the column {twice[0]!r} twice")
    return cells


def _parquet(file: Path, columns: Sequence[str], part: tuple[int, int, int] | None) -> Iterator[Row]:
    with _table(file, columns) as (table, wanted):
        start, end, first = part or (0, table.num_row_groups, 1)
        line = first - 1
        for group in table.iter_batches(columns=wanted, batch_size=1024, row_groups=[*range(start, end)]):
            for row in group.to_pylist():
                line += 1
                yield Row(row, str(file), line, padded=True)


def groups_of(file: Path, columns: Sequence[str], size: int) -> Iterator[tuple[int, int, int, int]]:
    """(first row group, the one after the last, number of the first row, bytes) of a parquet file in parts of about ``size`` bytes of text."""
    with _table(file, columns) as (table, wanted):
        about = table.metadata
        start = held = 0
        line = first = 1
        for i in range(table.num_row_groups):
            group = about.row_group(i)
            chunks = [group.column(c) for c in range(group.num_columns)]
            bytes_ = sum(
                c.total_uncompressed_size for c in chunks if wanted is None or c.path_in_schema.split(".")[0] in wanted
            )
            if i > start and held + bytes_ > size:
                yield start, i, first, held
                start, held, first = i, 0, line
            held += bytes_
            line += group.num_rows
        yield start, table.num_row_groups, first, held


@contextmanager
def _table(file: Path, columns: Sequence[str]) -> Iterator[tuple[Any, list[str] | None]]:
    """(an open parquet file, its columns that are to be read; None: all)."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise lacking(str(file), "reading parquet needs pyarrow", "pyarrow") from None
    try:
        with pq.ParquetFile(file) as table:
            there = set(table.schema_arrow.names)
            yield table, list(dict.fromkeys(columns)) if columns and set(columns) <= there else None
    except (pa.ArrowInvalid, OSError) as e:
        raise UserError(str(file), f"is no parquet file: {' '.join(str(e).split())}") from None
