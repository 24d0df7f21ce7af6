"""What an option may hold: annotations such as ``Positive`` or ``Literal["a", "b"]``, read as text, and the check of a value."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace
from typing import Annotated, Any, get_args, get_origin

from components.core.terminal import fault_of

BITS = 63  # of a whole number: nothing that is counted here needs more


@dataclass(frozen=True)
class Range:
    """Of a number, both ends inclusive; None: no end. ``Share = Annotated[float, Range(0.0, 1.0)]`` names one."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class FileName:
    """Of a string that names a file: it is taken literally from the command line and made absolute there."""


# The numbers are literals, since they are read from source as well.
Positive = Annotated[int, Range(1, None)]
Several = Annotated[int, Range(2, None)]
NonNegative = Annotated[int, Range(0, None)]
PositiveFloat = Annotated[float, Range(1e-30, None)]
NonNegativeFloat = Annotated[float, Range(0.0, None)]
Probability = Annotated[float, Range(0.0, 1.0)]
Fraction = Annotated[float, Range(0.0, 0.999999)]
# bounds of what is built or started one by one, which would otherwise take hours before any size is known
Depth = Annotated[int, Range(1, 2048)]  # twice the deepest transformer that was published (Wang et al. 2022, arXiv:2203.00555)
Rows = Annotated[int, Range(1, 16_777_216)]  # of a vocabulary that is learned: 64 times the largest in use
Workers = Annotated[int, Range(0, 512)]
Path = Annotated[str, FileName()]
Slices = Any  # the option `layers` of a stack: {which: {socket: node}}

# {name: (base, low, high)} of the ranges above
RANGES: dict[str, tuple[str, float | None, float | None]] = {
    name: (get_args(value)[0].__name__, value.__metadata__[0].low, value.__metadata__[0].high)
    for name, value in list(globals().items())
    if get_origin(value) is Annotated and isinstance(value.__metadata__[0], Range)
}
STANDARD = {**{name: globals()[name] for name in RANGES}, "Path": Path, "Slices": Slices, "Any": Any}  # what `parse_type` knows


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
    length: int | None = None  # tuple[float, float]: exactly 2

    @property
    def slices_layers(self) -> bool:
        """Whether the option says which layers have parts of their own: ``layers: Slices``."""
        return self.text == "Slices" or self.text.startswith("Slices ")

    def fault(self, value: object) -> str | None:
        """Why ``value`` is not allowed, or None. Sockets are checked by whoever resolves them."""
        if self.kind is not None or "Any" in self.bases or (value is None and self.optional):
            return None
        if isinstance(value, int) and value.bit_length() > BITS:
            return f"a whole number of {value.bit_length()} bits is out of range: {self.described()}"
        if self.allowed and any(type(value) is type(a) and value == a for a in self.allowed):
            return None
        if value == "" and "path" in self.bases:
            return "'' names no file"
        if not any(_is(value, base) for base in self.bases):
            return f"{value!r} is not {self.described()}"
        if "path" not in self.bases and (said := not_text(value)):  # a file's name may be any bytes
            return said
        if self.length is not None and isinstance(value, (list, tuple)) and len(value) != self.length:
            return f"{value!r} is not {self.described()}"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            low_ok = self.low is None or value >= self.low
            high_ok = self.high is None or value <= self.high
            if not (low_ok and high_ok):
                return f"{value!r} is out of range: {self.described()}"
        return None

    def cast(self, value: Any) -> Any:
        """The value in the type that was asked for, where that loses nothing (1 -> 1.0, '1e-3' -> 0.001, list -> tuple stays a list)."""
        if isinstance(value, int) and value.bit_length() > BITS:
            return value  # refused, and too large for a float
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
                low = "" if self.low is None else "> 0" if self.low == 1e-30 else f">= {_plain(self.low)}"
                high = "" if self.high is None else "< 1" if self.high == 0.999999 else f"<= {_plain(self.high)}"
                bounds = " " + " and ".join(filter(None, (low, high))) if low or high else ""
            words.append(
                base + bounds + (f" of length {self.length}" if self.length is not None and base.startswith("list") else "")
            )
        return " or ".join(words + (["null"] if self.optional else []))


def not_text(value: object) -> str | None:
    """Why a string, or one in a list, cannot be used as text by a tokenizer or a log; None if it can."""
    each = value if isinstance(value, (list, tuple)) else [value]
    return next((f"{v!r} {said}" for v in each if isinstance(v, str) and (said := fault_of(v))), None)


def _plain(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _is(value: object, base: str) -> bool:
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
            left.length if left.length is not None else right.length,
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
    if outer == "Annotated":
        return _narrowed(_parse(items[0], text), items[1:])
    if outer == "Optional":
        inner = _parse(items[0], text)
        return Type(text, inner.bases, inner.allowed, inner.low, inner.high, inner.kind, inner.many, True, inner.length)
    if outer in ("tuple", "list"):
        inner = _parse(items[0], text).bases
        open_ended = outer == "list" or (isinstance(items[-1], ast.Constant) and items[-1].value is ...)
        base = f"list[{inner[0]}]" if inner and inner[0] != "Any" else "list"
        return Type(text, (base,), length=None if open_ended else len(items))
    if outer == "dict":
        return Type(text, ("dict",))
    raise ValueError(f"annotation {text!r} is not one that a config can hold")


def _narrowed(plain: Type, notes: list[ast.expr]) -> Type:
    """``plain`` with the limits that ``Annotated[int, Range(1, 9)]`` adds. Annotations meant for other tools are ignored."""
    for note in notes:
        called = ast.unparse(note.func).rsplit(".", 1)[-1] if isinstance(note, ast.Call) else ""
        if isinstance(note, ast.Call) and called == "Range":
            ends = dict(zip(("low", "high"), map(ast.literal_eval, note.args)))
            ends |= {str(k.arg): ast.literal_eval(k.value) for k in note.keywords}
            plain = replace(plain, low=ends.get("low"), high=ends.get("high"))
        elif called == "FileName":
            plain = replace(plain, bases=("path",))
    return plain


def literal(value: Any, name: str) -> Any:
    """The value as JSON would hold it (tuples become lists). ValueError if it is not a literal: configs are data."""
    if isinstance(value, (list, tuple)):
        return [literal(v, name) for v in value]
    if isinstance(value, dict):
        return {str(k): literal(v, name) for k, v in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"{name}: {value!r} is not a literal (number, string, true/false, null, list or mapping of these)")
