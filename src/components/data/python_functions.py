"""Functions of the running Python's standard library: real text on every machine, without a download."""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
import textwrap
import warnings
from collections.abc import Iterator

from components.corpus.document import Document
from components.corpus.store import key_of, stamp_of
from components.registry import register
from components.signature import Positive

SKIP = {
    "test",
    "tests",
    "idle_test",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "lib2to3",
    "ensurepip",
    "encodings",
    "pydoc_data",
}


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
        self.root = sysconfig.get_paths()["stdlib"]
        self.notes = [
            f"functions of the standard library of Python {sysconfig.get_python_version()} ({sys.version.split()[0]})"
        ]

    def files(self) -> Iterator[str]:
        """The library's source files, in an order that depends on nothing but their names."""
        for folder, folders, names in os.walk(self.root):
            folders[:] = sorted(set(folders) - SKIP)
            yield from (os.path.join(folder, n) for n in sorted(names) if n.endswith(".py"))

    def documents(self) -> Iterator[Document]:
        for file in self.files():
            with open(file, encoding="utf8", errors="ignore") as f:
                source = f.read()
            for line, text in functions(source, self.min_chars, self.max_chars):
                yield Document(text, os.path.relpath(file, self.root), line)

    def judge(self, text: str) -> bool:
        """ast.parse reads it as Python."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return bool(ast.parse(text).body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False

    def fingerprint(self) -> str:
        return key_of("python_functions", 2, self.min_chars, self.max_chars, sys.version, stamp_of(self.files()))


def functions(source: str, low: int, high: int) -> Iterator[tuple[int, str]]:
    """(line, text) of each function whose text has ``low`` to ``high`` characters, none within another. A file that does not parse has none."""
    lines = source.split("\n")  # not splitlines: a form feed ends no line for the parser
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own invalid escapes are not the reader's concern
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            return
    yield from _within(tree, lines, low, high)


def _within(tree: ast.AST, lines: list[str], low: int, high: int) -> Iterator[tuple[int, str]]:
    """Functions in order of line, from statements alone: ``ast.walk`` would go through every expression.

    Not into a function that is a document: what it defines would be a second one, perhaps in another split.
    """
    if isinstance(tree, ast.FunctionDef):
        text = _text(tree, lines, high)
        if text is not None and low <= len(text) <= high:
            yield tree.lineno, text
            return
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        block = getattr(tree, name, ())
        for statement in block if isinstance(block, list) else ():
            yield from _within(statement, lines, low, high)


def _text(node: ast.FunctionDef, lines: list[str], high: int) -> str | None:
    """The function at the margin, or None if it is longer than ``high`` at sight: most are, and dedent is slow."""
    part = lines[node.lineno - 1 : node.end_lineno]
    if sum(len(line) - node.col_offset for line in part if not line.isspace()) > high:
        return None
    return textwrap.dedent("\n".join(part)) + "\n"
