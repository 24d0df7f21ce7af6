"""Jinja for untrusted templates: rendering ends within bounds of time and memory, whatever the template says, in any thread.

Everything that a render makes is counted while it is made: characters, elements, loop steps, calls. So nothing too large is ever made, and no
signal, process or wall clock is needed (docs/decisions/chat_templates.md says why). Work that makes nothing, such as comparing long texts, is
bounded by the processor time of the thread, which is checked between the steps that are counted.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sized
from types import BuiltinMethodType
from typing import Any, TypeVar, cast

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from components.generation.template_limits import EACH, ELEMENT, MOST_WORK, STEP, Meter, TooMuch, bound, size

MOST_SOURCE = 2**18  # characters of a template; the longest of known models have 30,000
# there is no known bound on the time of these filters, and no chat needs them
WITHOUT = ("urlize", "wordwrap", "striptags", "pprint", "xmlattr")
# filters that pass on what they are given, or look only at its outside
PASSING = {
    *("length", "count", "first", "last", "list", "map", "select", "selectattr", "reject", "rejectattr", "default", "d"),
    *("items", "reverse", "batch", "slice", "attr", "random", "safe"),
}
PLAIN = {
    "trim",
    "upper",
    "lower",
    "capitalize",
    "title",
    "string",
}  # from a text they make one of at most three times its length


T = TypeVar("T")


class Generation(Extension):
    """{% generation %} marks the text to train on; for rendering, it is replaced by its content."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Counting(NodeTransformer):
    """Rewrites a template's tree so that everything that makes something counts it: loops, concatenations, lists, slices."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        pieces = sum(1 for _ in node.find_all((nodes.Output, nodes.Assign, nodes.If)))
        node.iter = _filtered(cast(nodes.Expr, node.iter), "_walked", nodes.Const(STEP + EACH * pieces))
        return node

    def visit_Add(self, node: nodes.Add) -> nodes.Node:
        terms: list[nodes.Expr] = [node]
        while isinstance(terms[0], nodes.Add):  # a + b + c is added in one go
            terms[:1] = [terms[0].left, terms[0].right]
        return _filtered(nodes.List([self.visit(term) for term in terms], lineno=node.lineno), "_added")

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "_joined")

    def _literal(self, node: nodes.List | nodes.Tuple | nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        plain = all(isinstance(n, nodes.Const) for n in node.iter_child_nodes())
        return node if plain or (isinstance(node, nodes.Tuple) and node.ctx != "load") else _filtered(node, "_counted")

    visit_List = visit_Tuple = visit_Dict = _literal

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(node, "_made") if isinstance(node.arg, nodes.Slice) else node


def _filtered(node: nodes.Expr, name: str, *more: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(more), [], None, None, lineno=node.lineno)


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment whose templates count what they make. Templates run only through ``render``."""

    intercepted_binops = frozenset(("-", "*", "/", "//", "%", "**"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols], optimized=False, finalize=self._shown
        )
        self._own = threading.local()
        for name in WITHOUT:
            del self.filters[name]
        del self.globals["lipsum"]
        self.filters = {name: self._metered(name, f) for name, f in self.filters.items()}
        self.filters |= {
            "_walked": self._walked,
            "_joined": self._joined,
            "_counted": self._counted,
            "_made": self._made,
            "_added": self._added,
        }
        # Jinja joins the pieces of a template by this attribute; its class has a function there, which takes no environment
        self.concat = self._concat  # type: ignore[method-assign, assignment]

    def add_filter(self, name: str, function: Callable[..., object]) -> None:
        self.filters[name] = self._metered(name, function)

    def compiled(self, source: str) -> jinja2.Template:
        """A compiled template. Raises exceptions of many kinds if ``source`` is not a template."""
        if len(source) > MOST_SOURCE:
            raise TooMuch(f"it has {len(source):,} characters, and {MOST_SOURCE:,} are the most")
        self._own.meter = Meter(MOST_WORK)
        return self.from_string(Counting().visit(self.parse(source)))

    def render(self, template: jinja2.Template, **given: object) -> str:
        """The rendered text. Raises whatever the template makes Python raise."""
        self._own.meter = Meter(MOST_WORK)
        return template.render(**given)

    # -- what counts -------------------------------------------------------------------------------------------------

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        meter = __self._own.meter
        meter.count(STEP)
        if isinstance(__obj, LoopContext):  # {% for ... recursive %}, gone into
            args = (__self._walked(args[0], MOST_SOURCE), *args[1:])
        method = getattr(__obj, "__wrapped__", __obj)  # jinja2 wraps str.format
        if isinstance(method, BuiltinMethodType):
            bound(meter, method.__name__, method.__self__, args, kwargs)
        elif not isinstance(__obj, Macro):  # namespace and dict store what they are given
            meter.count(size((args, kwargs), meter.most))
        return __self._made(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        meter = self._own.meter
        numbers = isinstance(left, int) and isinstance(right, int)
        if numbers and operator in ("-", "/", "//", "%"):
            return self.binop_table[operator](left, right)
        if operator == "%" and isinstance(left, (str, bytes)):
            bound(meter, "%", left, (right,), {})
        elif operator == "*" and not numbers:
            a, b = (abs(x) if isinstance(x, int) else size(x, meter.most) for x in (left, right))
            meter.fits(a * b)
        elif operator == "*":
            meter.fits(left.bit_length() + right.bit_length())
        elif operator == "**" and numbers:
            meter.fits(left.bit_length() * abs(right) * STEP)
        return self._counted(super().call_binop(context, operator, left, right))

    def _counted(self, value: T) -> T:
        """Count a value with everything inside it, for values that may hold one thing many times."""
        meter = self._own.meter
        meter.count(len(value) if type(value) is str else size(value, meter.most))
        return value

    def _made(self, value: T) -> T:
        """Count a value whose elements were counted before."""
        if isinstance(value, Sized):
            self._own.meter.count(len(value) * (1 if isinstance(value, str) else ELEMENT))
        return value

    def _shown(self, value: T) -> T:
        return value if type(value) is str else self._counted(value)

    def _walked(self, values: Iterable[object], each: int) -> Iterable[object]:
        return (
            Walk(cast(Collection[object], values), self._own.meter, each)
            if isinstance(values, Sized)
            else _steps(values, self._own.meter, each)
        )

    def _added(self, terms: list[Any]) -> Any:
        if {*map(type, terms)} == {str}:
            return self._concat(terms)
        total = terms[0]
        for term in terms[1:]:
            total = self._counted(total + term)
        return total

    def _joined(self, values: list[object]) -> str:
        if {*map(type, values)} == {str}:
            return self._concat(cast(list[str], values))
        return self._concat([value if isinstance(value, str) else str(self._counted(value)) for value in values])

    def _concat(self, pieces: Iterable[str]) -> str:
        parts = pieces if type(pieces) is list else list(pieces)
        self._own.meter.count(sum(map(len, parts)))
        return "".join(parts)

    def _metered(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        given = 1 if getattr(function, "jinja_pass_arg", None) is not None else 0
        after = self._counted if name in ("batch", "slice") else self._made  # they fill up their result with a given value

        @functools.wraps(function)
        def metered(*args: object, **kwargs: object) -> object:
            meter, value = self._own.meter, args[given]
            if type(value) is str and name in PLAIN:
                made = str(function(*args, **kwargs))
                meter.count(STEP + len(made))
                return made
            meter.count(STEP)
            if not isinstance(value, str) and name not in PASSING:
                meter.fits(size(value, meter.most))
            bound(meter, name, value, args[given + 1 :], kwargs)
            return after(function(*args, **kwargs))

        return metered


class Walk:
    """The items of a loop, each step counted. It has a length, which a loop may ask for."""

    def __init__(self, values: Collection[object], meter: Meter, each: int) -> None:
        self.values, self.meter, self.each = values, meter, each

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[object]:
        return _steps(self.values, self.meter, self.each)


def _steps(values: Iterable[object], meter: Meter, each: int) -> Iterator[object]:
    for value in values:
        meter.made += each
        if meter.made >= meter.next:
            meter.look()
        yield value
