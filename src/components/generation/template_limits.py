"""Limits of a chat template: a meter, the size of a value, and how large the result of a filter, method or format would be."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sized

import jinja2
from jinja2.utils import Namespace

MOST_WORK = 2**27  # characters that a render may make; a step of a loop and a call count as STEP
MOST_NUMBER = 100_000  # a width, a count or a precision that is asked for
MOST_SECONDS = 2.0  # of the thread's processor time
STEP, EACH, ELEMENT = 100, 16, 64  # a step of a loop or a call, each statement of a step, an element of a list: in characters
LOOK = 2**16  # the clock is looked at when so much has been made
AMPLIFYING = {"%", "format", "format_map", "replace", "join", "translate", "expandtabs", "indent", "tojson"}
# methods and filters whose numbers are not sizes
ANY_NUMBER = {
    "default",
    "d",
    "int",
    "float",
    "select",
    "selectattr",
    "reject",
    "rejectattr",
    "map",
    "count",
    "index",
    "get",
    "sum",
}
NUMBER, NESTED = re.compile(r"\d+"), re.compile(r"\{[^{}]*\{")


class TooMuch(jinja2.TemplateError):
    """A template needs more than any conversation does."""


class Meter:
    """Counts what a render has made so far."""

    def __init__(self, most: int) -> None:
        self.made, self.most, self.next = 0, most, LOOK
        self.end = time.thread_time() + MOST_SECONDS

    def count(self, amount: int) -> None:
        self.made += amount
        if self.made >= self.next:
            self.look()

    def look(self) -> None:
        """Raise TooMuch if it is too much, or has taken too long."""
        if self.made > self.most:
            raise TooMuch(f"it makes more than {self.most:,} characters, or takes as many steps")
        if time.thread_time() > self.end:
            raise TooMuch(f"it takes more than {MOST_SECONDS:g} s")
        self.next = self.made + LOOK

    def fits(self, amount: int) -> None:
        """Raise TooMuch if ``amount`` more would be too much; asked before it is made."""
        if amount > self.most - self.made:
            raise TooMuch(f"it makes more than {self.most:,} characters, or takes as many steps")


def size(value: object, most: int) -> int:
    """Characters and elements of a value. Contents count as often as they would be written; counting stops beyond ``most``."""
    found, waiting = 0, [value]
    while waiting and found <= most:
        x = waiting.pop()
        found += ELEMENT
        if isinstance(x, (str, bytes)):
            found += len(x)
        elif isinstance(x, int):
            found += x.bit_length() // 8
        elif isinstance(x, dict):
            waiting += [*x.keys(), *x.values()]
        elif isinstance(x, (list, tuple, set, frozenset)):
            waiting += x
        elif isinstance(x, Namespace):
            # what a template has stored there; Jinja has no public name for it
            waiting.append(x._Namespace__attrs)  # type: ignore[attr-defined]
    return found


def bound(meter: Meter, name: str, value: object, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    """Raise TooMuch if a filter, method or format would make more from ``value`` than there is room for."""
    more = (*args, *kwargs.values())
    if not more and name not in AMPLIFYING:
        return
    for number in more:
        if isinstance(number, int) and abs(number) > MOST_NUMBER and name not in ANY_NUMBER:
            raise TooMuch(f"{name} is asked for {str(number)[:20]}, and {MOST_NUMBER:,} is the most")
    if name not in AMPLIFYING:
        return
    length, most = size(value, meter.most), meter.most
    if name in ("%", "format", "format_map"):
        text = value if isinstance(value, str) else str(value, "latin1") if isinstance(value, bytes) else ""
        widest = max((int(n) if len(n) < 7 else 2 * MOST_NUMBER for n in NUMBER.findall(text)), default=0)
        if widest > MOST_NUMBER:
            raise TooMuch(f"a width of more than {MOST_NUMBER:,} is asked for")
        starred = "*" in text or NESTED.search(text) is not None  # a width may be among the arguments
        if starred and any(isinstance(n, int) and abs(n) > MOST_NUMBER for n in _within(more)):
            raise TooMuch(f"a width of more than {MOST_NUMBER:,} is asked for")
        given = size(list(more), most) + widest + MOST_NUMBER * starred
        meter.fits(length + (text.count("%") + text.count("{")) * given)
    elif name == "replace":
        times = value.count(more[0]) if isinstance(value, str) and more and isinstance(more[0], str) else length
        meter.fits(length + times * size(more[1:], most))
    elif name == "join":
        items = more[0] if isinstance(value, str) and more and not isinstance(more[0], str) else value
        count = len(items) if isinstance(items, Sized) else MOST_NUMBER
        meter.fits(size(items, most) + count * (length if items is not value else size(more, most)))
    else:  # a width for each line, each tab, each character
        each = sum(abs(n) if isinstance(n, int) else size(n, most) for n in more)
        meter.fits(length + (length if name == "translate" else _marks(value)) * each)


def _within(values: tuple[object, ...]) -> Iterator[object]:
    for value in values:
        yield from value if isinstance(value, (tuple, list)) else (value.values() if isinstance(value, dict) else (value,))


def _marks(value: object) -> int:
    return value.count("\n") + value.count("\t") + 1 if isinstance(value, str) else size(value, MOST_WORK)
