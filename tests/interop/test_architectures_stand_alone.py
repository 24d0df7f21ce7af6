"""Each architecture file stands alone: what two or more share is in a module whose name begins with an underscore."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from components.interop import architectures

FOLDER = Path(architectures.__path__[0])
ROOM = f"{architectures.__name__}."


def imported(file: Path) -> set[str]:
    """The modules of the folder that ``file`` imports, those inside functions too."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf8"))))
    names = [n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)]
    names += [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    names += [f"{n.module}.{a.name}" for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names]
    modules = {p.stem for p in FOLDER.glob("*.py")}
    return {n.removeprefix(ROOM) for n in names if n.startswith(ROOM)} & modules


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda p: p.stem)
def test_only_shared_modules_are_imported(file: Path) -> None:
    assert not [m for m in imported(file) if not m.startswith("_")]


def test_an_import_of_a_sibling_is_found(tmp_path: Path) -> None:
    file = tmp_path / "made.py"
    file.write_text(f"from {ROOM}llama import BASE\nfrom {ROOM[:-1]} import gemma\n")
    assert imported(file) == {"llama", "gemma"}
