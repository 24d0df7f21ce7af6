"""Finding files by what a user gives, and reading plain text."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from components.core import memory
from components.core.errors import UserError
from components.core.files import reason, regular

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


LARGER, CUT = "is larger than the memory", "cut it into several, and name their folder"


PACKED = {".gz": "gzip", ".zst": "zstd"}  # of rows in lines alone: {suffix: its name with pyarrow}


def kind_of(file: Path) -> str:
    """The suffix by which a file is read: of ``rows.jsonl.gz`` it is .jsonl."""
    suffixes = [s.lower() for s in file.suffixes[-2:]]
    packed = len(suffixes) == 2 and suffixes[1] in PACKED and suffixes[0] in (".jsonl", ".ndjson")
    return suffixes[0] if packed else file.suffix.lower()


def decoded(data: bytes, *, first: bool = True) -> str:
    """Text with ``\\n`` newlines; bytes that are no UTF-8 stay as lone surrogates, for cleaning to find. ``first``: a file begins here."""
    text = data.decode("utf8", errors="surrogateescape")
    text = text.removeprefix("\ufeff") if first else text
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def read_bytes(file: Path) -> bytes:
    try:
        return need_memory(file).read_bytes()
    except OSError as e:
        raise UserError(str(file), f"cannot be read ({reason(e)})") from None
    except (MemoryError, OverflowError):
        raise UserError(str(file), LARGER, CUT) from None


def need_memory(file: Path) -> Path:
    """UserError for a file that is read as a whole and is larger than the memory: before hours are spent on its hash."""
    if (size := regular(file).stat().st_size) > (there := memory.available()):
        raise UserError(str(file), f"{LARGER} ({memory.shown(size)}, and there are {memory.shown(there)})", CUT)
    return file


def files_of(path: str, suffixes: set[str], what: str) -> list[Path]:
    """The files that ``path`` names, sorted: itself, those below a folder that have one of the suffixes, or those that a pattern matches.

    Raises:
        UserError: no file was found. ``what``: the word for the files that a folder is searched for.
    """
    given = Path(path)
    if given.is_file():
        return [given]
    if given.is_dir():
        return _in_folder(given, suffixes, what)
    found = sorted(Path(f) for f in glob.glob(path, recursive=True) if os.path.isfile(f))
    if not found:
        raise UserError(path, "matches no file" if glob.has_magic(path) else "no such file or folder", _nearby(given))
    return found


def _in_folder(folder: Path, suffixes: set[str], what: str) -> list[Path]:
    visible = sorted(
        f for f in folder.rglob("*") if f.is_file() and not any(p.startswith(".") for p in f.relative_to(folder).parts)
    )
    found = [f for f in visible if kind_of(f) in suffixes]
    if not found:
        there = sorted({f.suffix or "no suffix" for f in visible})
        raise UserError(
            str(folder),
            f"has no {what} ({', '.join(there) or 'it is empty'})",
            "name others by a pattern: path=folder/**/*.log",
        )
    return found


def _nearby(given: Path) -> str:
    """What a mistyped path may have meant."""
    folder = given.parent
    if not folder.is_dir():
        return f"there is no folder {folder} either"
    names = sorted(f.name for f in folder.iterdir())
    near = get_close_matches(given.name, names, n=3, cutoff=0.5)
    return (
        f"did you mean {' or '.join(map(repr, near))}?"
        if near
        else f"{folder.resolve()} holds {', '.join(names[:5]) or 'nothing'}"
    )


def pieces(text: str, size: int, line: int = 1) -> Iterator[tuple[int, str]]:
    """(line, text) of pieces of about ``size`` characters, at blank lines where there are any; together they are ``text``."""
    start = 0
    while start < len(text):
        end = end_of_piece(text, start, size)
        piece = text[start:end]
        yield line, piece
        line += piece.count("\n")
        start = end


def end_of_piece(text: str, start: int, size: int) -> int:
    """The first blank line after ``size`` characters, else line's end, sentence's end or space; at most twice ``size``."""
    if len(text) - start <= size + size // 2:
        return len(text)
    window = text[start + size : start + 2 * size]
    for mark in (r"\n[ \t]*\n\s*", r"\n", r"[.!?]\s+", r"\s+"):
        found = re.search(mark, window)
        if found:
            return start + size + found.end()
    return start + 2 * size


def paragraphs(text: str, line: int = 1) -> Iterator[tuple[int, str]]:
    """(line, text) of what stands between blank lines."""
    for part in re.split(r"(\n[ \t]*\n\s*)", text):
        if part.strip():
            yield line, part.strip("\n") + "\n"
        line += part.count("\n")
