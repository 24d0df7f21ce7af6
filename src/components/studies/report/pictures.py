"""The pictures as PNG, for slides, pull requests and loggers: intervals, curves, costs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.errors import cut, printable
from components.core.files import whole
from components.studies.answer import Answer
from components.studies.report.series import Line, curves, differences, fronts
from components.studies.report.svg import DASHES
from components.studies.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GOOD, BAD, UNSURE = "#0b6b4f", "#a63a12", "#566071"
STYLES = ("-", "--", ":", "-.")
assert len(STYLES) == len(DASHES)
LEGEND = 0.22  # inches of a line of the legend
LABEL = 44  # characters of a name


def pictures(study: Study, answer: Answer, folder: Path) -> dict[str, str]:
    """Write those that have something to show. Returns {file name: what it shows}."""
    made: dict[str, str] = {}
    drawers: dict[str, tuple[str, Callable[[Study, Answer], Figure | None]]] = {
        "intervals.png": ("Differences from the recipe with 95 % intervals", intervals),
        "curves.png": (f"{answer.metric} over the steps, and minus the recipe's", over_steps),
        "costs.png": (f"{answer.metric} over time, FLOPs and parameters", over_costs),
    }
    for name, (what, draw) in drawers.items():
        figure = draw(study, answer)
        if figure is not None:
            with whole(folder / name) as stream, warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Glyph .* missing")  # a script that matplotlib's font does not have
                figure.savefig(stream, format="png")
            made[name] = what
    return made


def intervals(study: Study, answer: Answer) -> Figure | None:  # noqa: ARG001  all pictures are drawn of the same two
    """A row for each variant, as on the page."""
    shown = [(i, row, row.effect) for i, row in enumerate(answer.rows) if row.effect is not None and row.effect.seeds]
    if not shown:
        return None
    figure = new_figure(8, 1.3 + 0.55 * len(shown))
    axes = figure.subplots()
    for y, (_, _, e) in enumerate(shown):
        better = answer.better(e)
        colour = UNSURE if better is None else GOOD if better else BAD
        axes.plot(e.differences, [y - 0.15] * len(e.seeds), ".", color=colour, alpha=0.5)
        if e.interval is not None:
            axes.plot(e.interval, (y, y), color=colour, linewidth=3, solid_capstyle="round")
        if e.bootstrap is not None:
            axes.plot(e.bootstrap, (y + 0.18, y + 0.18), color=colour, linewidth=1.2)
        axes.plot([e.mean or 0.0], [y], "o", color=colour, markersize=7)
    left, right = axes.get_xlim()
    for y, (_, _, e) in enumerate(shown):
        if e.detectable is not None:
            axes.fill_between((-e.detectable, e.detectable), y - 0.3, y + 0.3, color="0.5", alpha=0.15, linewidth=0)
    axes.set_xlim(min(left, 0), max(right, 0))
    axes.axvline(0, color="0.2", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(shown)), [label(i, row.variant) for i, row, _ in shown])
    axes.invert_yaxis()
    axes.set_xlabel(text(f"{answer.metric}: variant minus recipe"))
    return figure


def over_steps(study: Study, answer: Answer) -> Figure | None:
    """Means with the range of their seeds, and differences with their intervals."""
    above, below = curves(study, answer), differences(study, answer)
    if not above:
        return None
    figure = new_figure(8, (7 if below else 4.2) + LEGEND * len(answer.rows) / 2)
    panels = figure.subplots(2 if below else 1, 1, sharex=True, squeeze=False)[:, 0]
    _draw(panels[0], above, answer, labelled=True)
    panels[0].set_ylabel(text(answer.metric))
    figure.legend(loc="outside lower left", fontsize=8, frameon=False, ncols=2)
    if below:
        _draw(panels[1], below, answer)
        panels[1].axhline(0, color="0.2", linestyle="--", linewidth=1)
        panels[1].set_ylabel("minus the recipe's")
    panels[-1].set_xlabel("step")
    return figure


def over_costs(study: Study, answer: Answer) -> Figure | None:
    """One panel for each cost that is known, with the Pareto front."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    found = [f for f in fronts(study, answer) if not f.equal]
    if not found:
        return None
    figure = new_figure(max(7, 4 * len(found)), 4 + LEGEND * len(answer.rows) / 2)
    for axes, front in zip(figure.subplots(1, len(found), sharey=True, squeeze=False)[0], found):
        best = sorted((p for p in front.points if p.front), key=lambda p: p.cost)
        axes.step([p.cost for p in best], [p.value for p in best], where="post", color="0.5", linestyle="--", linewidth=1)
        for p in front.points:
            colour = f"C{p.place}"
            axes.plot((p.cost, p.cost), (p.low, p.high), color=colour, alpha=0.6, linewidth=1)
            named = label(p.place, answer.rows[p.place].variant) if front is found[0] else None
            filled = colour if p.front else "white"
            axes.plot([p.cost], [p.value], "o", color=colour, markersize=8, markerfacecolor=filled, label=named)
            axes.annotate(str(p.place), (p.cost, p.value), xytext=(7, 5), textcoords="offset points", fontsize=8)
        axes.margins(0.12)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.set_xlabel(f"{front.cost}{f' ({front.unit})' if front.unit else ''}")
    figure.axes[0].set_ylabel(text(answer.metric))
    figure.legend(loc="outside lower left", fontsize=8, frameon=False, ncols=2)
    return figure


def new_figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def label(place: int, name: str) -> str:
    return text(f"{place} {cut(printable(name), LABEL)}")


def text(said: str) -> str:
    """Without a dollar sign that would begin a formula."""
    return printable(said).replace("$", r"\$")


def _draw(axes: Axes, lines: list[Line], answer: Answer, *, labelled: bool = False) -> None:
    for line in lines:
        named, colour = label(line.place, answer.rows[line.place].variant) if labelled else None, f"C{line.place}"
        axes.plot(line.steps, line.middle, color=colour, linestyle=STYLES[line.place % len(STYLES)], label=named)
        axes.fill_between(line.steps, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
