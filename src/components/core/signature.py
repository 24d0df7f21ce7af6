"""A part's signature, read without importing it: the one description that config, help, completion and checks share.

``Signature.of_node`` reads source by ``ast`` (no torch, milliseconds), ``Signature.of_class`` reads a live class; a test holds
that both agree for every part. Positional parameters are sizes that the parent offers, keyword-only ones are options.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any

from components.core.aliases import expand, live_scope, spelled
from components.core.docstrings import argument_docs, sentence, whole
from components.core.errors import UserError, nearest
from components.core.option_types import (  # noqa: F401  parts take their annotations from here
    RANGES,
    Depth,
    Fraction,
    NonNegative,
    NonNegativeFloat,
    Path,
    Positive,
    PositiveFloat,
    Probability,
    Rows,
    Several,
    Slices,
    Type,
    Workers,
    literal,
    parse_type,
)
from components.core.options import DECLARATIONS, fields_of, is_field
from components.core.source import Module, Written

REQUIRED = "<required>"
OWN_WORDS = ("name", "preset")  # of a node


@dataclass(frozen=True)
class Option:
    """One keyword-only parameter: a choice of the part. ``default`` is a literal, or REQUIRED."""

    name: str
    type: Type
    default: Any = REQUIRED
    doc: str = ""

    def __post_init__(self) -> None:
        if self.name in OWN_WORDS:
            raise ValueError(f"{self.name}: no option can be called so, since a node's {self.name} says which part it is")


@dataclass(frozen=True)
class Signature:
    """Sizes (positional, name -> required?), options (keyword-only), the docstring's sentence and source, and the declarations."""

    sizes: dict[str, bool] = field(default_factory=dict)
    options: dict[str, Option] = field(default_factory=dict)
    sentence: str = ""
    doc: str = ""
    declared: dict[str, Any] = field(default_factory=dict)  # what DECLARATIONS names: needs, provides, axes ...

    def sockets(self) -> dict[str, Option]:
        return {n: o for n, o in self.options.items() if o.type.kind is not None}

    def check(self, where: str, options: Mapping[str, object], called: str) -> None:
        """UserError for an option that does not exist, a value of a wrong type or out of its range, a required one left out."""
        for name, value in options.items():
            if name not in self.options:
                raise UserError(
                    f"{where}.{name}".lstrip("."),
                    f"{called} has no option {name!r}",
                    nearest(name, self.options, called=f"options of {called}"),
                )
            fault = self.options[name].type.fault(value)
            if fault:
                raise UserError(f"{where}.{name}".lstrip("."), fault)
        for name, option in self.options.items():
            if option.default == REQUIRED and name not in options:
                raise UserError(
                    f"{where}.{name}".lstrip("."), f"{called} needs it", f"give {option.type.described() or option.type.text}"
                )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Signature:
        options = {}
        for name, o in data["options"].items():
            t = {**o["type"], "bases": tuple(o["type"]["bases"]), "allowed": tuple(o["type"]["allowed"])}
            options[name] = Option(name, Type(**t), o["default"], o["doc"])
        return cls(data["sizes"], options, data["sentence"], data["doc"], data["declared"])

    @classmethod
    def of_class(cls, target: object) -> Signature:
        """Of a live class or function. ValueError names the parameter that breaks the form of a part."""
        if not inspect.isclass(target):
            sizes, options = _live_parameters(target, 0, argument_docs(inspect.getdoc(target) or ""))
            return _assembled(sizes, options, inspect.getdoc(inspect.getmodule(target)), inspect.getdoc(target), {})
        sizes: dict[str, bool] = {}
        options: dict[str, Option] = {}
        docs: dict[str, str] = {}
        owner = _constructed_by(target)
        for c in reversed(target.__mro__):
            own = "" if c.__module__.split(".")[0] in FOREIGN else inspect.cleandoc(vars(c).get("__doc__") or "")
            docs |= argument_docs(own)
            for name, f in fields_of(c).items():
                options[name] = _live_option(name, f.annotation, f.default, _names(f.owner))
            if c is owner:
                sizes, taken = _live_parameters(vars(c)["__init__"], 1, {})
                options = _in_order(taken, options)
        documented = {n: replace(o, doc=docs.get(n, "")) for n, o in options.items()}
        declared = {n: literal(getattr(target, n), n) for n in DECLARATIONS if hasattr(target, n)}
        doc = inspect.cleandoc(vars(target).get("__doc__") or "")
        return _assembled(sizes, documented, inspect.getdoc(inspect.getmodule(target)), doc, declared)

    @classmethod
    def of_node(cls, node: ast.ClassDef | ast.FunctionDef, module: Module) -> Signature:
        """Of a class or function in source, with the bases that the package has, in whichever of its files."""
        doc = ast.get_docstring(node) or ""
        if isinstance(node, ast.FunctionDef):
            sizes, options = _written_parameters(node, 0, module, argument_docs(doc))
            return _assembled(sizes, options, module.doc, doc, {})
        sizes: dict[str, bool] = {}
        options: dict[str, Option] = {}
        docs: dict[str, str] = {}
        declared: dict[str, Any] = {}
        family = module.family(node)
        known = [c for c in family if isinstance(c, Written)]
        owner = _written_constructor(family)
        with_fields = {id(c) for c in known if any(b.node.name == "Options" for b in c.module.written_family(c.node))}
        for c in reversed(known):
            docs |= argument_docs(ast.get_docstring(c.node) or "")
            for name, annotation, value in _assigned(c.node):
                if name in DECLARATIONS:
                    declared[name] = literal(ast.literal_eval(value), name)
                elif id(c) not in with_fields:
                    continue
                elif annotation is not None and is_field(name, ast.unparse(annotation)):
                    options[name] = _written_option(name, annotation, value, c.module)
                elif annotation is None and name in options:  # another default for a field of a base
                    options[name] = replace(options[name], default=literal(ast.literal_eval(value), name))
            if owner is not None and c is owner[0]:
                sizes, taken = _written_parameters(owner[1], 1, c.module, {})
                options = _in_order(taken, options)
        documented = {n: replace(o, doc=docs.get(n, "")) for n, o in options.items()}
        return _assembled(sizes, documented, module.doc, doc, {n: declared[n] for n in DECLARATIONS if n in declared})


FRAMEWORKS = {"torch", "lightning", "pytorch_lightning", "lightning_fabric"}
FOREIGN = FRAMEWORKS | sys.stdlib_module_names


def _assembled(
    sizes: dict[str, bool], options: dict[str, Option], module_doc: str | None, doc: str | None, declared: dict[str, Any]
) -> Signature:
    return Signature(sizes, options, sentence(doc or module_doc or ""), whole(module_doc or "", doc), declared)


def _constructed_by(target: type) -> type | None:
    """The nearest class with an ``__init__``; None if it is a framework's: what that takes is no choice of the part."""
    owner = next(c for c in target.__mro__ if "__init__" in vars(c))
    foreign = owner.__module__ != target.__module__ and owner.__module__.split(".")[0] in FOREIGN
    return None if foreign else owner


# ``own``: how many of a function's parameters are not the part's: 1 where it is an ``__init__``
def _live_parameters(function: Any, own: int, docs: dict[str, str]) -> tuple[dict[str, bool], dict[str, Option]]:
    sizes: dict[str, bool] = {}
    options: dict[str, Option] = {}
    parameters = list(inspect.signature(function).parameters.values())
    plain = inspect.unwrap(function)
    names = plain.__globals__ if isinstance(plain, FunctionType) else {}
    for p in parameters[own:]:
        if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            raise ValueError(f"*{p.name}: a part lists its parameters; *args and **kwargs hide what can be chosen")
        if p.kind is not p.KEYWORD_ONLY:
            sizes[p.name] = p.default is p.empty
            continue
        options[p.name] = replace(_live_option(p.name, p.annotation, p.default, names), doc=docs.get(p.name, ""))
    return sizes, options


def _names(owner: type) -> dict[str, Any]:
    """What stands in the module of a class; of one that was not imported as a module, nothing but the standard names is known."""
    return vars(sys.modules[owner.__module__]) if owner.__module__ in sys.modules else {}


def _live_option(name: str, annotation: object, default: object, names: Mapping[str, object]) -> Option:
    if annotation is inspect.Parameter.empty:
        raise ValueError(f"{name}: an option needs an annotation")
    if not isinstance(annotation, str):
        annotation = spelled(annotation) or inspect.formatannotation(annotation).replace("typing.", "")
    value = REQUIRED if default is inspect.Parameter.empty else literal(default, name)
    return Option(name, parse_type(expand(annotation, live_scope(names))), value)


def _written_constructor(family: list[Written | str]) -> tuple[Written, ast.FunctionDef] | None:
    for c in family:
        if isinstance(c, str):
            if c.split(".")[0] in FRAMEWORKS:
                return None
            continue
        init = next((f for f in c.node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
        if init is not None:
            return c, init
    return None


def _written_parameters(
    function: ast.FunctionDef, own: int, module: Module, docs: dict[str, str]
) -> tuple[dict[str, bool], dict[str, Option]]:
    a = function.args
    positional = [*a.posonlyargs, *a.args][own:]
    required = len(positional) - len(a.defaults)
    sizes = {p.arg: i < required for i, p in enumerate(positional)}
    options = {
        p.arg: replace(_written_option(p.arg, p.annotation, d, module), doc=docs.get(p.arg, ""))
        for p, d in zip(a.kwonlyargs, a.kw_defaults)
    }
    return sizes, options


def _written_option(name: str, annotation: ast.expr | None, default: ast.expr | None, module: Module) -> Option:
    text = ast.unparse(annotation) if annotation else ""
    value = REQUIRED if default is None else literal(ast.literal_eval(default), name)
    return Option(name, parse_type(expand(text, module.scope)), value)


def _assigned(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None, ast.expr]]:
    """(name, annotation, value) of each assignment in the body of a class."""
    for s in node.body:
        if isinstance(s, ast.AnnAssign) and s.value is not None and isinstance(s.target, ast.Name):
            yield s.target.id, s.annotation, s.value
        elif isinstance(s, ast.Assign):
            yield from ((t.id, None, s.value) for t in s.targets if isinstance(t, ast.Name))


def _in_order(taken: dict[str, Option], fields: dict[str, Option]) -> dict[str, Option]:
    """What must be given comes first, then the fields, then what else ``__init__`` takes. ValueError for a name that is both."""
    if twice := [n for n in taken if n in fields]:
        raise ValueError(f"{twice[0]!r} is a field and a parameter of __init__; say it once")
    return {n: o for n, o in taken.items() if o.default == REQUIRED} | fields | taken
