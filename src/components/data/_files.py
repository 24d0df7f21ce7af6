"""Reading documents from one file: plain text, jsonl, json, csv, tsv, parquet. Every fault names the file and the line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.corpus.document import Document
from components.errors import UserError, nearest

TABLES = {".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"}
# What a folder is searched for; a file that is named or matched by a glob is read whatever its suffix.
PLAIN = {
    ".txt",
    ".md",
    ".rst",
    ".text",
    ".tex",
    ".html",
    ".xml",
    ".yaml",
    ".yml",
    ".toml",
    ".py",
    ".pyi",
    ".c",
    ".h",
    ".cc",
    ".cpp",
    ".hpp",
}
PLAIN |= {
    ".js",
    ".ts",
    ".java",
    ".go",
    ".rs",
    ".rb",
    ".sh",
    ".sql",
    ".lua",
    ".pl",
    ".php",
    ".r",
    ".jl",
    ".scala",
    ".swift",
    ".kt",
    ".hs",
    ".ml",
}


def decoded(data: bytes) -> str:
    """Text with ``\\n`` newlines; bytes that are no UTF-8 stay as lone surrogates, for cleaning to find."""
    text = data.decode("utf8", errors="surrogateescape").removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def read_bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as e:
        raise UserError(str(file), f"cannot be read: {e.strerror}") from None


def table_documents(file: Path, field: str) -> Iterator[Document]:
    """One document for each row, from its column ``field``."""
    suffix = file.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return _jsonl(file, field)
    if suffix == ".json":
        return _json(file, field)
    if suffix == ".parquet":
        return _parquet(file, field)
    return _csv(file, field, "\t" if suffix == ".tsv" else ",")


def _text_of(row: Any, field: str, file: Path, line: int) -> Document:
    where = f"{file}:{line}"
    if not isinstance(row, dict):
        raise UserError(where, f"is no object but {type(row).__name__}", f'each row is {{"{field}": "text"}}')
    if field not in row:
        raise UserError(where, f"has no field {field!r}", nearest(field, row, called="fields") + "; choose by field=")
    value = row[field]
    if value is not None and not isinstance(value, str):
        raise UserError(where, f"field {field!r} is no text but {type(value).__name__}")
    return Document(value or "", str(file), line)


def _jsonl(file: Path, field: str) -> Iterator[Document]:
    try:
        with file.open("rb") as f:
            for number, line in enumerate(f, 1):
                if line.isspace():
                    continue
                try:
                    row = json.loads(decoded(line))
                except ValueError as e:
                    raise UserError(f"{file}:{number}", f"is no JSON: {e}") from None
                yield _text_of(row, field, file, number)
    except OSError as e:
        raise UserError(str(file), f"cannot be read: {e.strerror}") from None


def _json(file: Path, field: str) -> Iterator[Document]:
    try:
        rows = json.loads(decoded(read_bytes(file)))
    except json.JSONDecodeError as e:
        raise UserError(f"{file}:{e.lineno}", f"is no JSON: {e.msg}", "one object a line: name it .jsonl") from None
    if not isinstance(rows, list):
        raise UserError(str(file), f"holds no list of objects but {type(rows).__name__}")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or field not in row:
            raise UserError(str(file), f"object {number} has no field {field!r}", "choose by field=")
        yield Document(_text_of(row, field, file, number).text, f"{file}[{number - 1}]")


def _csv(file: Path, field: str, delimiter: str) -> Iterator[Document]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(io.StringIO(decoded(read_bytes(file)), newline=""), delimiter=delimiter, strict=True)
    start = 2
    try:
        for row in reader:
            yield _text_of({k: v for k, v in row.items() if k is not None}, field, file, start)
            start = reader.line_num + 1
    except csv.Error as e:
        raise UserError(f"{file}:{reader.line_num}", f"is no table: {e}") from None


def _parquet(file: Path, field: str) -> Iterator[Document]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(str(file), "reading parquet needs pyarrow", "pip install 'lightning-components[data]'") from None
    try:
        with pq.ParquetFile(file) as table:
            if field not in table.schema_arrow.names:
                raise UserError(
                    str(file),
                    f"has no column {field!r}",
                    nearest(field, table.schema_arrow.names, called="columns") + "; choose by field=",
                )
            row = 0
            for group in table.iter_batches(columns=[field], batch_size=1024):
                for value in group.column(0).to_pylist():
                    row += 1
                    if value is not None and not isinstance(value, str):
                        raise UserError(f"{file}:{row}", f"column {field!r} is no text but {type(value).__name__}")
                    yield Document(value or "", str(file), row)
    except (pa.ArrowInvalid, OSError) as e:
        raise UserError(str(file), f"is no parquet file: {' '.join(str(e).split())}") from None


def pieces(text: str, size: int) -> Iterator[tuple[int, str]]:
    """(line, text) of pieces of about ``size`` characters, at blank lines where there are any; together they are ``text``."""
    start, line = 0, 1
    while start < len(text):
        end = _end_of_piece(text, start, size)
        piece = text[start:end]
        yield line, piece
        line += piece.count("\n")
        start = end


def _end_of_piece(text: str, start: int, size: int) -> int:
    """The first blank line after ``size`` characters, else line's end, sentence's end or space; at most twice ``size``."""
    if len(text) - start <= size + size // 2:
        return len(text)
    window = text[start + size : start + 2 * size]
    for mark in (r"\n[ \t]*\n\s*", r"\n", r"[.!?]\s+", r"\s+"):
        found = re.search(mark, window)
        if found:
            return start + size + found.end()
    return start + 2 * size


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """(line, text) of what stands between blank lines."""
    line = 1
    for part in re.split(r"(\n[ \t]*\n\s*)", text):
        if part.strip():
            yield line, part.strip("\n") + "\n"
        line += part.count("\n")
