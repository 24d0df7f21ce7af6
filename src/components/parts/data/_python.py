"""The standard library's source: its files, in a fixed order, and what the parser makes of them."""

from __future__ import annotations

import ast
import os
import sysconfig
import warnings
from collections.abc import Iterator

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


def library_root() -> str:
    return sysconfig.get_paths()["stdlib"]


def library_files() -> Iterator[str]:
    """The library's source files, in an order that depends on nothing but their names."""
    for folder, folders, names in os.walk(library_root()):
        folders[:] = sorted(set(folders) - SKIP)
        yield from (os.path.join(folder, n) for n in sorted(names) if n.endswith(".py"))


def parsed(source: str) -> ast.Module | None:
    """What ``ast.parse`` makes of it, None where it is no Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own invalid escapes are not the reader's concern
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def blocks(tree: ast.AST) -> Iterator[ast.AST]:
    """The statements right within one, in order of line: ``ast.walk`` would go through every expression."""
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        block = getattr(tree, name, ())
        yield from block if isinstance(block, list) else ()
