"""A part's signature, read without importing it: the one description that config, help, completion and checks share.

``Signature.of_node`` reads source by ``ast`` (no torch, milliseconds), ``Signature.of_class`` reads a live class; a test holds
that both agree for every part. Positional parameters are sizes that the parent offers, keyword-only ones are options.
"""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args, get_origin

from components.errors import UserError, nearest

REQUIRED = "<required>"
# Named ranges: readable in a signature and readable by ast. (low, high, base); bounds are inclusive.
RANGES: dict[str, tuple[str, float | None, float | None]] = {
    "Positive": ("int", 1, None),
    "NonNegative": ("int", 0, None),
    "PositiveFloat": ("float", 1e-30, None),
    "NonNegativeFloat": ("float", 0.0, None),
    "Probability": ("float", 0.0, 1.0),
    "Fraction": ("float", 0.0, 0.999999),
}
Positive = int
NonNegative = int
PositiveFloat = float
NonNegativeFloat = float
Probability = float
Fraction = float
Path = str  # an option of this type is taken literally from the command line and made absolute there
Slices = Any  # the option `layers` of a wiring: {which: {socket: node}}


@dataclass(frozen=True)
class Type:
    """What a value may be: ``text`` as written, the bases it allows, its closed list or range, the kind if it is a socket."""

    text: str
    bases: tuple[str, ...] = ()
    allowed: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    kind: str | None = None  # Maker["norm"]: a socket of that kind
    many: bool = False  # Makers["sampler"]: an ordered list of parts
    optional: bool = False

    def fault(self, value: Any) -> str | None:
        """Why ``value`` is not allowed, or None. Sockets are checked by whoever resolves them."""
        if self.kind is not None or "Any" in self.bases or (value is None and self.optional):
            return None
        if self.allowed and any(type(value) is type(a) and value == a for a in self.allowed):
            return None
        if not any(_is(value, base) for base in self.bases):
            return f"{value!r} is not {self.described()}"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            low_ok = self.low is None or value >= self.low
            high_ok = self.high is None or value <= self.high
            if not (low_ok and high_ok):
                return f"{value!r} is out of range: {self.described()}"
        return None

    def cast(self, value: Any) -> Any:
        """The value in the type that was asked for, where that loses nothing (1 -> 1.0, '1e-3' -> 0.001, list -> tuple stays a list)."""
        if "float" in self.bases and "int" not in self.bases and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if (
            "float" in self.bases
            and isinstance(value, str)
            and not self.allowed
            and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value)
        ):
            return float(value)
        if (
            "str" in self.bases
            and not self.allowed
            and isinstance(value, (int, float))
            and not isinstance(value, bool)
            and "int" not in self.bases
        ):
            return str(value)
        return value

    def described(self) -> str:
        """For people: ``one of 'head', 'full'`` or ``int >= 1``."""
        words = [f"one of {', '.join(map(repr, self.allowed))}"] if self.allowed else []
        for base in self.bases:
            bounds = ""
            if base in ("int", "float"):
                low = "" if self.low is None else "> 0" if self.low == 1e-30 else f">= {self.low:g}"
                high = "" if self.high is None else "< 1" if self.high == 0.999999 else f"<= {self.high:g}"
                bounds = " " + " and ".join(filter(None, (low, high))) if low or high else ""
            words.append(base + bounds)
        return " or ".join(words + (["null"] if self.optional else []))


def _is(value: Any, base: str) -> bool:
    if base in ("str", "path"):
        return isinstance(value, str)
    if base == "bool":
        return isinstance(value, bool)
    if base == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if base == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if base == "dict":
        return isinstance(value, dict)
    if base.startswith("list"):
        inner = base[5:-1]
        return isinstance(value, (list, tuple)) and (not inner or all(_is(v, inner) for v in value))
    return False


def parse_type(text: str) -> Type:
    """``int | None``, ``Literal['a', 'b']``, ``Maker['norm']``, ``Positive``, ``tuple[float, float]`` ... -> Type. ValueError if unknown."""
    return _parse(ast.parse(text, mode="eval").body, ast.unparse(ast.parse(text, mode="eval")))


def _parse(node: ast.expr, text: str) -> Type:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        left, right = _parse(node.left, text), _parse(node.right, text)
        return Type(
            text,
            left.bases + right.bases,
            left.allowed + right.allowed,
            left.low if left.low is not None else right.low,
            left.high if left.high is not None else right.high,
            left.kind or right.kind,
            left.many or right.many,
            left.optional or right.optional,
        )
    if isinstance(node, ast.Constant) and node.value is None:
        return Type(text, optional=True)
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
    if name in RANGES:
        base, low, high = RANGES[name]
        return Type(text, (base,), low=low, high=high)
    if name in ("int", "float", "bool", "str", "dict", "list"):
        return Type(text, (name,))
    if name == "Path":
        return Type(text, ("path",))
    if name in ("Slices", "Any"):
        return Type(text, ("Any",))
    if isinstance(node, ast.Subscript):
        return _parse_subscript(node, text)
    raise ValueError(f"annotation {text!r} is not one that a config can hold")


def _parse_subscript(node: ast.Subscript, text: str) -> Type:
    outer = ast.unparse(node.value).rsplit(".", 1)[-1]
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if outer in ("Maker", "Makers"):
        return Type(text, kind=ast.literal_eval(items[0]), many=outer == "Makers")
    if outer == "Literal":
        return Type(text, allowed=tuple(ast.literal_eval(i) for i in items))
    if outer == "Optional":
        inner = _parse(items[0], text)
        return Type(text, inner.bases, inner.allowed, inner.low, inner.high, inner.kind, inner.many, True)
    if outer in ("tuple", "list"):
        inner = _parse(items[0], text).bases
        return Type(text, (f"list[{inner[0]}]" if inner and inner[0] != "Any" else "list",))
    if outer == "dict":
        return Type(text, ("dict",))
    raise ValueError(f"annotation {text!r} is not one that a config can hold")


@dataclass(frozen=True)
class Option:
    """One keyword-only parameter: a choice of the part. ``default`` is a literal, or REQUIRED."""

    name: str
    type: Type
    default: Any = REQUIRED
    doc: str = ""


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


DECLARATIONS = ("needs", "provides", "lacks", "refuses", "axes", "carries_in", "carries_out", "share", "per_layer")


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
    """The ``__init__`` that the class or a base of the same file defines; what a framework's base class takes is no choice of the part."""
    return next(
        (vars(c)["__init__"] for c in target.__mro__ if c.__module__ == target.__module__ and "__init__" in vars(c)), None
    )


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
