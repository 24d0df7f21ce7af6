"""Axes and marks in SVG. Colours are the page's classes, so that one picture serves light and dark; every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from components.core.errors import printable
from components.studies.sentences import prefix_of

DASHES = ("", "7 3", "2 3", "9 3 2 3")  # beside the colour, for those who do not see it
COLOURS = 8
CHARACTER = 8  # pixels of one in a tick's text, at most: a text at an edge moves in, so that none is cut off


class Axis:
    """A range of values on a range of pixels, with ticks at round numbers."""

    def __init__(self, values: Sequence[float], first: float, last: float, *, margin: float = 0.06) -> None:
        low, high = min(values), max(values)
        pad = (high - low) * margin or abs(high) * 0.05 or 1.0
        self.low, self.high, self.first, self.last = low - pad, high + pad, first, last

    @property
    def pixels(self) -> int:
        return int(abs(self.last - self.first))

    def __call__(self, value: float) -> float:
        return round(self.first + (value - self.low) / (self.high - self.low) * (self.last - self.first), 2)

    def ticks(self, wanted: int = 8) -> list[tuple[float, str]]:
        """At most ``wanted`` values with 1, 2 or 5 as their only digit apart, and their texts."""
        rough = (self.high - self.low) / wanted
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(m * size for m in (1, 2, 5, 10) if m * size >= rough)
        unit, prefix = prefix_of(max(abs(self.low), abs(self.high)))
        places = max(0, -math.floor(math.log10(step / unit) + 1e-9))
        values = [n * step for n in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [(v, f"{v / unit + 0.0:.{places}f}{prefix and ' ' + prefix}".replace("-", "\u2212")) for v in values]


class LogAxis(Axis):
    """The same for positive values, by their logs; ticks at 1, 2 and 5 times powers of ten."""

    def __init__(self, values: Sequence[float], first: float, last: float, *, margin: float = 0.06) -> None:
        super().__init__([math.log10(v) for v in values], first, last, margin=margin)

    def __call__(self, value: float) -> float:
        return super().__call__(math.log10(value))

    def ticks(self, wanted: int = 8) -> list[tuple[float, str]]:
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        shown = [m * 10.0**p for p in powers for m in (1, 2, 5) if self.low <= math.log10(m * 10.0**p) <= self.high]
        shown = shown[:: max(1, math.ceil(len(shown) / wanted))]
        return [(v, f"{v / prefix_of(v)[0]:g} {prefix_of(v)[1]}".rstrip()) for v in shown]


class Picture:
    """An SVG of ``width`` by ``height``. ``title`` is read out; ``classes`` of a mark name its variant, which the legend hides."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height, self.title, self.marks = width, height, title, list[str]()

    def __str__(self) -> str:
        box = f'viewBox="0 0 {self.width} {self.height}" style="min-width:{self.width // 24}rem"'
        return f'<svg role="img" {box} aria-label="{safe(self.title)}">{"".join(self.marks)}</svg>'

    def axes(self, x: Axis, y: Axis | None, *, under: str = "", beside: str = "") -> None:
        """Grid and ticks; without ``y`` only those of ``x``. ``under`` and ``beside`` are their titles."""
        top, bottom = (y.last, y.first) if y else (8, self.height - 44)
        for value, text in x.ticks(x.pixels // 60):
            self.line([(x(value), top), (x(value), bottom)], "grid")
            half = CHARACTER * len(text) / 2
            self.text(min(max(x(value), half), self.width - half), bottom + 18, text, "tick", anchor="middle")
        if y is not None:
            for value, text in y.ticks(y.pixels // 40):
                self.line([(x.first, y(value)), (x.last, y(value))], "grid")
                self.text(x.first - 8, y(value) + 4, text, "tick", anchor="end")
        self.line([(x.first, bottom), (x.last, bottom)], "axis")
        if under:
            self.text((x.first + x.last) / 2, bottom + 38, under, "label", anchor="middle")
        if beside:
            self.text(x.first, top - 12, beside, "label")

    def line(self, points: Sequence[tuple[float, float]], classes: str, *, dash: str = "") -> None:
        told = f' stroke-dasharray="{dash}"' if dash else ""
        self.marks.append(f'<polyline class="{classes}"{told} points="{_points(points)}"/>')

    def band(self, above: Sequence[tuple[float, float]], below: Sequence[tuple[float, float]], classes: str) -> None:
        self.marks.append(f'<polygon class="{classes}" points="{_points([*above, *reversed(below)])}"/>')

    def dot(self, x: float, y: float, classes: str, *, size: float = 4, told: str = "") -> None:
        """A mark; with ``told`` it is reached by the keyboard, and read out."""
        reached = f' tabindex="0" role="img" aria-label="{safe(told)}"' if told else ""
        title = f"<title>{safe(told)}</title>" if told else ""
        self.marks.append(f'<circle class="{classes}" cx="{x}" cy="{y}" r="{size}"{reached}>{title}</circle>')

    def text(self, x: float, y: float, text: str, classes: str, *, anchor: str = "start") -> None:
        self.marks.append(f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{safe(text)}</text>')


def variant_classes(place: int) -> str:
    """The classes of a variant's marks: its colour, and the one by which the legend hides it."""
    return f"c{place % COLOURS} v{place}"


def dash_of(place: int) -> str:
    return DASHES[place % len(DASHES)]


def safe(text: object) -> str:
    """Anybody's text for HTML and SVG: no markup, and nothing that turns the direction of what follows."""
    return escape(printable(str(text)))


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
