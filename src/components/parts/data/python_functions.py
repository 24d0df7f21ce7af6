"""Real text on every machine, without a download: the running Python brings it."""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
import textwrap
from collections.abc import Iterator

from components.core.registry import register
from components.core.signature import Positive
from components.corpus.contents import hash_of
from components.corpus.document import Document
from components.corpus.store import key_of
from components.parts.data._python import blocks, library_files, library_root, parsed


@register("data", "python_functions")
class PythonFunctions:
    """Functions of the running Python's standard library, each a document: no download; licence: PSF.

    The set depends on the Python version, which the report names; the hash of the corpus tells two sets apart.

    Args:
        min_chars: shorter functions are left out.
        max_chars: longer functions are left out.
    """

    provides = ("text",)

    def __init__(self, *, min_chars: Positive = 60, max_chars: Positive = 700) -> None:
        if min_chars > max_chars:
            raise ValueError(f"min_chars={min_chars} is more than max_chars={max_chars}")
        self.min_chars, self.max_chars = min_chars, max_chars
        self.root = library_root()
        self.notes = [
            f"functions of the standard library of Python {sysconfig.get_python_version()} ({sys.version.split()[0]})"
        ]

    def documents(self) -> Iterator[Document]:
        for file in library_files():
            with open(file, encoding="utf8", errors="ignore") as f:
                source = f.read()
            for line, text in functions(source, self.min_chars, self.max_chars):
                yield Document(text, os.path.relpath(file, self.root), line)

    def judge(self, text: str) -> bool:
        """ast.parse reads it as Python."""
        tree = parsed(text)
        return tree is not None and bool(tree.body)

    def fingerprint(self) -> str:
        return key_of("python_functions", 2, self.min_chars, self.max_chars, sys.version, hash_of(library_files()))


def functions(source: str, low: int, high: int) -> Iterator[tuple[int, str]]:
    """(line, text) of each function whose text has ``low`` to ``high`` characters, none within another. A file that does not parse has none."""
    lines = source.split("\n")  # not splitlines: a form feed ends no line for the parser
    tree = parsed(source)
    if tree is not None:
        yield from _within(tree, lines, low, high)


def _within(tree: ast.AST, lines: list[str], low: int, high: int) -> Iterator[tuple[int, str]]:
    """Functions in order of line; not into a function that is a document: what it defines would be a second one, perhaps in another split."""
    if isinstance(tree, ast.FunctionDef):
        text = _text(tree, lines, high)
        if text is not None and low <= len(text) <= high:
            yield tree.lineno, text
            return
    for statement in blocks(tree):
        yield from _within(statement, lines, low, high)


def _text(node: ast.FunctionDef, lines: list[str], high: int) -> str | None:
    """The function at the margin, or None if it is longer than ``high`` at sight: most are, and dedent is slow."""
    part = lines[node.lineno - 1 : node.end_lineno]
    if sum(len(line) - node.col_offset for line in part if not line.isspace()) > high:
        return None
    return textwrap.dedent("\n".join(part)) + "\n"
