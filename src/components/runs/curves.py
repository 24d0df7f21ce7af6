"""curves.png: losses, the task's metrics and the learning rate over the steps, for one run or several in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.files import whole
from components.core.terminal import readable
from components.runs.metrics_file import LR, TRAIN_LOSS, VAL_LOSS, VAL_PERPLEXITY, Row, called, measured, step_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = ("-", "--", ":", "-.")


def draw(runs: dict[str, list[Row]], file: Path, title: str) -> None:
    """Draw the rows of each run, {label: rows of metrics.csv}, into ``file`` (png)."""
    with whole(file) as stream:
        figure_of({readable(label): rows for label, rows in runs.items()}, readable(title)).savefig(stream, format="png")


def figure_of(runs: dict[str, list[Row]], title: str) -> Figure:
    """The picture as a matplotlib figure: losses, metrics if there are any, learning rates."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = measures(runs)
    figure = Figure(figsize=(8, 7.5 if columns else 5.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(3 if columns else 2, 1, sharex=True, height_ratios=(4, 3, 1) if columns else (4, 1))
    loss, lr = panels[0], panels[-1]
    alone = len(runs) == 1
    for i, (label, rows) in enumerate(runs.items()):
        colour = f"C{i}"
        train, val = series(rows, TRAIN_LOSS), series(rows, VAL_LOSS)
        loss.plot(*train, color=colour, alpha=0.45, linewidth=1, label="train" if alone else f"{label}: train")
        dark = "C1" if alone else colour
        loss.plot(
            *val, color=dark, marker="o", markersize=3, linewidth=1.6, label="validation" if alone else f"{label}: validation"
        )
        lr.plot(*series(rows, LR), color="C2" if alone else colour, linewidth=1.2)
    values = [v for rows in runs.values() for v in series(rows, TRAIN_LOSS)[1] + series(rows, VAL_LOSS)[1]]
    if values and min(values) > 0 and max(values) / min(values) > 4:
        loss.set_yscale("log")
    loss.set_ylabel("loss (nats per token)" if any(series(rows, VAL_PERPLEXITY)[1] for rows in runs.values()) else "loss")
    loss.set_title(title, fontsize=10)
    loss.legend(fontsize=8, frameon=False)
    if columns:
        draw_measured(panels[1], runs, columns)
    lr.set_ylabel("learning rate")
    lr.set_xlabel("step")
    for axes in panels:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def measures(runs: dict[str, list[Row]]) -> list[str]:
    """The columns of a task's metrics in validation, in order, without the loss in its three units."""
    columns = dict.fromkeys(c for rows in runs.values() for row in rows for c in row)
    return [c for c in measured(columns) if any(series(rows, c)[1] for rows in runs.values())]


def draw_measured(axes: Axes, runs: dict[str, list[Row]], columns: list[str]) -> None:
    """One line for each metric. A single run has a colour for each; several runs have a colour each, and each metric its own dash."""
    alone, values, named = len(runs) == 1, [], set()
    for i, rows in enumerate(runs.values()):
        for j, column in enumerate(columns):
            steps, found = series(rows, column)
            values += found
            name = called(column)
            style: dict[str, Any] = {"color": f"C{j + 3}"} if alone else {"color": f"C{i}", "linestyle": LINES[j % len(LINES)]}
            if found:
                axes.plot(steps, found, marker="o", markersize=3, linewidth=1.4, label=None if name in named else name, **style)
                named.add(name)
    if 0 <= min(values) <= max(values) <= 1:
        axes.set_ylim(0, 1.02)
    axes.set_ylabel("on validation")
    legend = axes.legend(fontsize=8, frameon=False)
    if not alone:  # colours stand for runs here, so a coloured line in the legend would name one run
        for line in legend.get_lines():
            line.set_color("0.3")


def series(rows: list[Row], column: str) -> tuple[list[int], list[float]]:
    """(steps, values) of the rows that have a figure in the column."""
    found = [(step_of(r), value) for r in rows if (value := r.get(column)) is not None]
    return [s for s, _ in found], [v for _, v in found]


def sparkline(values: list[float], width: int = 40) -> str:
    """A curve in one line of text, for terminals and logs."""
    if not values:
        return ""
    picked = [values[int(i * (len(values) - 1) / max(1, min(width, len(values)) - 1))] for i in range(min(width, len(values)))]
    low, span = min(picked), (max(picked) - min(picked)) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[int(7 * (v - low) / span)] for v in picked)
