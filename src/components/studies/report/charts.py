"""The pictures of the page: curves with their spread, an interval for each variant, the figure over what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from components.core.errors import cut, printable
from components.studies.answer import Answer, Row
from components.studies.effect import UNTOLD, Effect
from components.studies.report.series import Front, Line
from components.studies.report.svg import Axis, Picture, dash_of, variant_classes
from components.studies.sentences import amount, rounded

WIDTH, LEFT, RIGHT = 720, 70, 12
ROW = 46  # pixels of a variant in the interval plot
LABEL = 84  # characters of a name above its interval


def curve_chart(lines: Sequence[Line], names: Sequence[str], title: str, beside: str, *, zero: bool = False) -> str:
    """Means as lines, bands around them. ``zero``: the recipe is the line at 0."""
    picture = Picture(WIDTH, 380, title)
    x = Axis([s for line in lines for s in line.steps], LEFT, WIDTH - RIGHT, margin=0.02)
    y = Axis([v for line in lines for v in (*line.low, *line.high)] + ([0.0] if zero else []), 380 - 48, 30)
    picture.axes(x, y, under="step", beside=beside)
    if zero:
        picture.line([(x.first, y(0)), (x.last, y(0))], "zero")
    for line in lines:
        above, below = ([(x(s), y(v)) for s, v in zip(line.steps, side)] for side in (line.high, line.low))
        picture.band(above, below, f"band {variant_classes(line.place)}")
    for line in lines:
        points = [(x(s), y(v)) for s, v in zip(line.steps, line.middle)]
        picture.line(points, f"curve {variant_classes(line.place)}", dash=dash_of(line.place))
        told = f"{names[line.place]}, step {line.steps[-1]}: {line.middle[-1]:.4g}, {line.low[-1]:.4g} to {line.high[-1]:.4g}"
        picture.dot(*points[-1], f"point {variant_classes(line.place)}", told=told)
    return str(picture)


def interval_chart(answer: Answer) -> str:
    """A row for each variant: single seeds, the interval by t above and by bootstrap below, and what its seeds could have seen."""
    shown = [(i, row, row.effect) for i, row in enumerate(answer.rows) if row.effect is not None and row.effect.seeds]
    values = [v for _, _, e in shown for v in (*e.differences, *(e.interval or ()), *(e.bootstrap or ()))]
    height = 24 + ROW * len(shown) + 46
    picture = Picture(WIDTH, height, f"differences from the recipe in {answer.metric}, with 95 % intervals")
    x = Axis([0.0, *values], 16, WIDTH - 16)
    picture.axes(x, None, under=f"{answer.metric}: variant minus recipe")
    for at, (place, row, effect) in enumerate(shown):
        _interval(picture, x, 24 + ROW * at, place, row, effect, answer.better(effect))
    picture.line([(x(0), 8), (x(0), height - 44)], "zero")
    return str(picture)


def _interval(picture: Picture, x: Axis, top: int, place: int, row: Row, effect: Effect, better: bool | None) -> None:
    classes, y = f"v{place} {'unsure' if better is None else 'better' if better else 'worse'}", top + 24
    seen = effect.detectable
    if seen is not None:  # cut at the edges of the picture: two seeds see next to nothing
        left, right = max(x.first, x(-seen)), min(x.last, x(seen))
        picture.band([(left, y - 9), (right, y - 9)], [(left, y + 9), (right, y + 9)], f"seen v{place}")
    picture.text(16, top + 9, f"{place}  {cut(printable(row.variant), LABEL)}", f"name v{place}")
    for value in effect.differences:
        picture.dot(x(value), y - 6, f"seed {classes}", size=2.5)
    for interval, below, kind in ((effect.interval, 0, "interval"), (effect.bootstrap, 6, "interval thin")):
        if interval is not None:
            picture.line([(x(interval[0]), y + below), (x(interval[1]), y + below)], f"{kind} {classes}")
    picture.dot(x(effect.mean or 0.0), y, f"mean {classes}", size=5, told=f"{row.variant}: {effect.sentence}")


def front_chart(front: Front, names: Sequence[str], metric: str) -> str:
    """One point for each variant; filled and joined by a line are those on the Pareto front."""
    height, width = 280, 360
    picture = Picture(width, height, f"{metric} over {front.cost}")
    x = Axis([p.cost for p in front.points], 56, width - 24, margin=0.12)
    y = Axis([v for p in front.points for v in (p.low, p.high)], height - 48, 30, margin=0.1)
    picture.axes(x, y, under=f"{front.cost}{f' ({front.unit})' if front.unit else ''}", beside=metric)
    steps: list[tuple[float, float]] = []
    for p in sorted((p for p in front.points if p.front), key=lambda p: p.cost):
        steps += [(x(p.cost), steps[-1][1])] if steps else []
        steps.append((x(p.cost), y(p.value)))
    picture.line(steps, "front")
    for p in front.points:
        classes = variant_classes(p.place)
        picture.line([(x(p.cost), y(p.low)), (x(p.cost), y(p.high))], f"range {classes}")
        told = f"{names[p.place]}: {p.value:.4g} at {amount(p.cost, front.unit)}{', on the front' if p.front else ''}"
        picture.dot(x(p.cost), y(p.value), f"{'point' if p.front else 'hollow'} {classes}", size=6, told=told)
    for p, (across, up) in zip(front.points, numbers([(x(p.cost), y(p.value)) for p in front.points])):
        picture.text(across, up, str(p.place), f"number v{p.place}")
    return str(picture)


def numbers(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where the number of each point stands: beside it, on the first side where no other number and no other point is."""
    placed: list[tuple[float, float]] = []
    for i, (x, y) in enumerate(points):
        sides = [(x + 9, y - 7), (x + 9, y + 14), (x - 16, y - 7), (x - 16, y + 14), (x + 24, y - 7), (x + 24, y + 14)]
        taken = [*placed, *((px - 4, py + 4) for j, (px, py) in enumerate(points) if j != i)]
        placed.append(next((s for s in sides if all(abs(s[0] - tx) > 9 or abs(s[1] - ty) > 11 for tx, ty in taken)), sides[0]))
    return placed


def told_of(answer: Answer) -> str:
    """What the shaded ranges of the interval plot say, for the line under it."""
    unsure = [row.effect for row in answer.rows if row.effect is not None and row.effect.verdict == UNTOLD]
    if not unsure:
        return ""
    worst = max(unsure, key=lambda e: e.detectable or 0.0)
    return f"The largest that may have been missed: {rounded(worst.detectable or 0.0)}."
