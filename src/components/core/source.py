"""The files of a package as they are written: classes, their bases in other files, and what a name stands for, all without an import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from components.core.aliases import Scope
from components.core.option_types import STANDARD

STANDARDS = "components.core.option_types"  # the module whose names are standard ones


@dataclass(frozen=True)
class Written:
    """A class in the module that writes it."""

    node: ast.ClassDef
    module: Module


class Sources:
    """Modules of the packages in ``homes``, {"components": its folder}, each read once. ``read``: the files so far."""

    def __init__(self, homes: dict[str, Path]) -> None:
        self.homes = homes
        self.read: dict[Path, Module] = {}

    def module(self, dotted: str) -> Module | None:
        """By its dotted name; None where it is no module of these packages."""
        top, *rest = dotted.split(".")
        if top not in self.homes:
            return None
        below = self.homes[top].joinpath(*rest)
        file = next((f for f in (below / "__init__.py", below.with_suffix(".py")) if f.is_file()), None)
        return None if file is None else self.of_file(file, dotted)

    def of_file(self, file: Path, dotted: str) -> Module:
        if file not in self.read:
            self.read[file] = Module(dotted, ast.parse(file.read_text(encoding="utf8"), str(file)), self)
        return self.read[file]


@dataclass(eq=False)
class Module:
    """One file: ``scope`` says what a name in it stands for, ``family`` what a class builds on."""

    name: str
    tree: ast.Module
    sources: Sources = field(repr=False)

    @property
    def doc(self) -> str:
        return ast.get_docstring(self.tree) or ""

    @cached_property
    def imported(self) -> dict[str, tuple[str, str]]:
        """{name here: (module, name there)}; a module itself has no name there."""
        found: dict[str, tuple[str, str]] = {}
        for s in _top(self.tree.body):
            if isinstance(s, ast.ImportFrom) and s.module and not s.level:
                found |= {a.asname or a.name: (s.module, a.name) for a in s.names}
            elif isinstance(s, ast.Import):
                found |= {a.asname or a.name: (a.name, "") for a in s.names}
        return found

    @cached_property
    def defined(self) -> dict[str, ast.ClassDef | ast.expr]:
        """{name: its class, or the expression that was assigned to it}, of this file's top level."""
        found: dict[str, ast.ClassDef | ast.expr] = {}
        for s in _top(self.tree.body):
            if isinstance(s, ast.ClassDef):
                found[s.name] = s
            elif isinstance(s, ast.Assign):
                found |= {t.id: s.value for t in s.targets if isinstance(t, ast.Name)}
            elif isinstance(s, ast.AnnAssign) and s.value is not None and isinstance(s.target, ast.Name):
                found[s.target.id] = s.value
        return found

    def found(self, dotted: str) -> tuple[Module, str, ast.ClassDef | ast.expr] | str:
        """(module, name, definition) of what a name stands for, followed through imports; else the full name of what is foreign."""
        if dotted in self.defined:
            return self, dotted, self.defined[dotted]
        cut = max((n for n in self.imported if dotted == n or dotted.startswith(n + ".")), key=len, default="")
        if not cut:
            return dotted
        module, name = self.imported[cut]
        full = ".".join(filter(None, (module, name, dotted[len(cut) + 1 :])))
        *path, last = full.split(".")
        there = self.sources.module(".".join(path))
        return full if there is None or there is self else there.found(last)

    def scope(self, name: str) -> tuple[ast.expr, Scope] | str | None:
        """What an annotation's name means here, as ``aliases.expand`` asks."""
        found = self.found(name)
        if isinstance(found, str):
            return None
        module, last, definition = found
        if module.name == STANDARDS and last in STANDARD:
            return last
        return None if isinstance(definition, ast.ClassDef) else (definition, module.scope)

    def family(self, node: ast.ClassDef) -> list[Written | str]:
        """The class and all that it builds on, in the order in which Python looks attributes up; foreign classes by their full names."""
        return _merged(Written(node, self), {})

    def written_family(self, node: ast.ClassDef) -> list[Written]:
        return [c for c in self.family(node) if isinstance(c, Written)]


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those under ``if`` and ``try`` too."""
    for s in body:
        yield s
        if isinstance(s, (ast.If, ast.Try)):
            yield from _top([*s.body, *s.orelse])


def _bases(c: Written) -> list[Written | str]:
    found: list[Written | str] = []
    for base in c.node.bases:
        said = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
        there = c.module.found(said)
        if isinstance(there, str):
            found.append(there)
        elif isinstance(there[2], ast.ClassDef):
            found.append(Written(there[2], there[0]))
    return found


def _merged(c: Written, above: dict[int, None]) -> list[Written | str]:
    """The linearisation that Python itself makes (C3), over what is written."""
    if id(c.node) in above:
        raise ValueError(f"{c.node.name} is a base of itself")
    bases = _bases(c)
    lists = [_merged(b, {**above, id(c.node): None}) if isinstance(b, Written) else [b] for b in bases]
    lists.append(list(bases))
    order: list[Written | str] = [c]
    while lists := [each for each in lists if each]:
        head = next((each[0] for each in lists if not any(each[0] in other[1:] for other in lists)), None)
        if head is None:
            raise ValueError(f"{c.node.name}: its bases have no common order")
        order.append(head)
        lists = [each[1:] if each[0] == head else each for each in lists]
    return order
