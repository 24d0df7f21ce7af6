"""Named annotations, ``Positive`` or ``Activation``: what a name in a signature means where it stands, live and in source alike.

``expand`` writes an annotation with standard names only, so that ``parse_type`` reads it wherever it came from: a range imported under
another name gets its own name back, and a name for a closed list becomes that list.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from components.core.option_types import STANDARD

Scope = Callable[[str], "tuple[ast.expr, Scope] | str | None"]
"""What a dotted name stands for: an annotation with the scope that it is read in, a standard name, or None if that is not known here."""


def expand(text: str, scope: Scope) -> str:
    """``text`` with every name replaced by what it stands for in ``scope``. ValueError for a name that leads back to itself."""
    return ast.unparse(_Expand(scope, ()).visit(ast.parse(text, mode="eval").body))


class _Expand(ast.NodeTransformer):
    def __init__(self, scope: Scope, above: tuple[str, ...]) -> None:
        self.scope, self.above = scope, above

    def named(self, node: ast.Name | ast.Attribute) -> ast.expr:
        name = ast.unparse(node)
        found = self.scope(name)
        if found is None:
            return node
        if isinstance(found, str):
            return ast.Name(found)
        if len(self.above) > 20:
            raise ValueError(f"annotation {self.above[0]!r} is defined by itself")
        expression, scope = found
        return _Expand(scope, (*self.above, name)).visit(ast.parse(ast.unparse(expression), mode="eval").body)

    visit_Name = visit_Attribute = named

    def choices(self, listed: ast.expr) -> list[ast.expr]:
        """The words of a closed list, those of lists that it names among them."""
        found: list[ast.expr] = []
        for each in listed.elts if isinstance(listed, ast.Tuple) else [listed]:
            inner = self.visit(each)
            found += self.choices(inner.slice) if isinstance(inner, ast.Subscript) else [inner]
        return found

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        outer = ast.unparse(node.value).rsplit(".", 1)[-1]
        if outer == "Annotated" and isinstance(node.slice, ast.Tuple):
            node.slice.elts[0] = self.visit(node.slice.elts[0])
        elif outer == "Literal":
            node.slice = _listed(self.choices(node.slice))
        elif outer not in ("Maker", "Makers"):  # whose word is no type
            node.slice = self.visit(node.slice)
        return node


def _listed(words: list[ast.expr]) -> ast.expr:
    return words[0] if len(words) == 1 else ast.Tuple(words)


def live_scope(names: Mapping[str, object]) -> Scope:
    """Of a living module, by its ``__dict__``. A class that is no annotation, such as ``pathlib.Path``, means nothing here."""

    def scope(name: str) -> tuple[ast.expr, Scope] | str | None:
        first, *rest = name.split(".")
        value = names.get(first)
        for word in rest:
            value = getattr(value, word, None)
        if STANDARD.get(name, STANDARD) is value:
            return name
        text = None if value is None else spelled(value)
        return None if text is None else (ast.parse(text, mode="eval").body, lambda _: None)

    return scope


def spelled(annotation: Any) -> str | None:
    """A living annotation as a signature would write it: ``Positive | None``. None if it is none that can be written so."""
    for name, value in STANDARD.items():
        if value is annotation or (get_origin(value) is Annotated and value == annotation):
            return name
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is Ellipsis:
        return "..."
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return f"Annotated[{spelled(inner[0])}, {', '.join(map(repr, annotation.__metadata__))}]"
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, inner))}]"
    if origin in (Union, types.UnionType):
        each = [spelled(a) for a in inner]
        return None if None in each else " | ".join(map(str, each))
    if origin in (list, tuple, dict):
        each = [spelled(a) for a in inner]
        return None if None in each else f"{origin.__name__}[{', '.join(map(str, each))}]"
    return annotation.__name__ if annotation in (int, float, bool, str, list, tuple, dict) else None
