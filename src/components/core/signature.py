"""A part's signature, read without importing it: the one description that config, help, completion and checks share.

``Signature.of_node`` reads source by ``ast`` (no torch, milliseconds), ``Signature.of_class`` reads a live class; a test holds
that both agree for every part. Positional parameters are sizes that the parent offers, keyword-only ones are options.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args, get_origin

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
    Slices,
    Type,
    Workers,
    parse_type,
)

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

    def check(self, where: str, options: dict[str, Any], called: str) -> None:
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

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Signature:
        options = {}
        for name, o in data["options"].items():
            t = {**o["type"], "bases": tuple(o["type"]["bases"]), "allowed": tuple(o["type"]["allowed"])}
            options[name] = Option(name, Type(**t), o["default"], o["doc"])
        return cls(data["sizes"], options, data["sentence"], data["doc"], data["declared"])

    @classmethod
    def of_class(cls, target: Any) -> Signature:
        """Of a live class or function. ValueError names the parameter that breaks the form of a part."""
        sizes: dict[str, bool] = {}
        options: dict[str, Option] = {}
        doc = inspect.getdoc(target) if "__doc__" in vars(target) or not inspect.isclass(target) else ""
        docs = argument_docs(doc or "")
        function = _constructor(target) if inspect.isclass(target) else target
        if function is not None:
            parameters = list(inspect.signature(function).parameters.values())[1 if inspect.isclass(target) else 0 :]
            for p in parameters:
                if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
                    raise ValueError(f"*{p.name}: a part lists its parameters; *args and **kwargs hide what can be chosen")
                if p.kind is not p.KEYWORD_ONLY:
                    sizes[p.name] = p.default is p.empty
                    continue
                default = REQUIRED if p.default is p.empty else literal(p.default, p.name)
                options[p.name] = Option(p.name, parse_type(_text(p.annotation, p.name)), default, docs.get(p.name, ""))
        module_doc = inspect.getdoc(inspect.getmodule(target)) or ""
        declared = {n: literal(getattr(target, n), n) for n in DECLARATIONS if hasattr(target, n)}
        return cls(sizes, options, sentence(doc or module_doc), _whole(module_doc, doc), declared)

    @classmethod
    def of_node(
        cls, node: ast.ClassDef | ast.FunctionDef, module_doc: str, bases: dict[str, ast.ClassDef] | None = None
    ) -> Signature:
        """Of a class or function in source; a base class in the same file is followed for what the class leaves out."""
        family = _family(node, bases or {})
        doc = ast.get_docstring(node) or ""
        docs = argument_docs(doc)
        function = (
            node
            if isinstance(node, ast.FunctionDef)
            else next((f for c in family for f in c.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
        )
        sizes: dict[str, bool] = {}
        options: dict[str, Option] = {}
        if function is not None:
            a = function.args
            positional = [*a.posonlyargs, *a.args][0 if isinstance(node, ast.FunctionDef) else 1 :]
            required = len(positional) - len(a.defaults)
            sizes = {p.arg: i < required for i, p in enumerate(positional)}
            for p, d in zip(a.kwonlyargs, a.kw_defaults):
                default = REQUIRED if d is None else literal(ast.literal_eval(d), p.arg)
                annotation = ast.unparse(p.annotation) if p.annotation else ""
                options[p.arg] = Option(p.arg, parse_type(annotation), default, docs.get(p.arg, ""))
        declared: dict[str, Any] = {}
        for c in reversed(family):
            for s in c.body:
                targets = (
                    s.targets if isinstance(s, ast.Assign) else [s.target] if isinstance(s, ast.AnnAssign) and s.value else []
                )
                for t in targets:
                    if isinstance(t, ast.Name) and t.id in DECLARATIONS:
                        declared[t.id] = literal(ast.literal_eval(s.value), t.id)  # type: ignore[union-attr,arg-type]
        return cls(
            sizes,
            options,
            sentence(doc or module_doc),
            _whole(module_doc, doc),
            {n: declared[n] for n in DECLARATIONS if n in declared},
        )


DECLARATIONS = ("needs", "provides", "lacks", "refuses", "axes", "carries_in", "carries_out", "share", "per_layer", "asks")


FRAMEWORKS = {"torch", "lightning", "pytorch_lightning", "lightning_fabric"}


def _family(node: ast.ClassDef | ast.FunctionDef, known: dict[str, ast.ClassDef]) -> list[ast.ClassDef]:
    """The class and its bases of the same file, nearest first."""
    if isinstance(node, ast.FunctionDef):
        return []
    family = [node]
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in known:
            family += _family(known[base.id], known)
    return family


def _constructor(target: type) -> Any:
    """The ``__init__`` that the class or the nearest base defines; what a framework's base class takes is no choice of the part."""
    owner = next(c for c in target.__mro__ if "__init__" in vars(c))
    foreign = owner.__module__ != target.__module__ and owner.__module__.split(".")[0] in FRAMEWORKS | sys.stdlib_module_names
    return None if foreign else vars(owner)["__init__"]


def _text(annotation: Any, name: str) -> str:
    if annotation is inspect.Parameter.empty:
        raise ValueError(f"{name}: an option needs an annotation")
    if isinstance(annotation, str):
        return annotation
    if get_origin(annotation) is Literal:
        return f"Literal[{', '.join(map(repr, get_args(annotation)))}]"
    return inspect.formatannotation(annotation).replace("typing.", "")


def literal(value: Any, name: str) -> Any:
    """The value as JSON would hold it (tuples become lists). ValueError if it is no literal: configs are data."""
    if isinstance(value, (list, tuple)):
        return [literal(v, name) for v in value]
    if isinstance(value, dict):
        return {str(k): literal(v, name) for k, v in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"{name}: {value!r} is not a literal (number, string, true/false, null, list or mapping of these)")


def sentence(doc: str) -> str:
    """The first paragraph, on one line."""
    return " ".join(doc.strip().split("\n\n", 1)[0].split())


def _whole(module_doc: str, doc: str | None) -> str:
    return "\n\n".join(filter(None, (module_doc.strip(), (doc or "").strip())))


def argument_docs(doc: str) -> dict[str, str]:
    """``Args:`` lines ``name: text`` of a docstring, each with its continuation lines."""
    found: dict[str, str] = {}
    match = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", doc, re.M)
    if not match:
        return found
    lines = match.group(1).splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    name = ""
    for line in lines:
        head = re.match(rf"[ \t]{{{indent}}}(\w+)(?: \([^)]*\))?: (.*)", line)
        if head:
            name = head.group(1)
            found[name] = head.group(2).strip()
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found
