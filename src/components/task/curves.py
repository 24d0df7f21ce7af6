"""curves.png: train and validation loss over the steps, and the learning rate below; one run or several in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def draw(runs: dict[str, list[dict[str, Any]]], file: Path, title: str) -> None:
    """Draw the rows of each run (label -> rows of metrics.csv) into ``file`` (png)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    loss, lr = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    alone = len(runs) == 1
    for i, (label, rows) in enumerate(runs.items()):
        colour = f"C{i}"
        train, val = series(rows, "train_loss"), series(rows, "val_loss")
        loss.plot(*train, color=colour, alpha=0.45, linewidth=1, label="train" if alone else f"{label}: train")
        dark = "C1" if alone else colour
        loss.plot(
            *val, color=dark, marker="o", markersize=3, linewidth=1.6, label="validation" if alone else f"{label}: validation"
        )
        lr.plot(*series(rows, "lr"), color="C2" if alone else colour, linewidth=1.2)
    values = [v for rows in runs.values() for v in series(rows, "train_loss")[1] + series(rows, "val_loss")[1]]
    if values and min(values) > 0 and max(values) / min(values) > 4:
        loss.set_yscale("log")
    loss.set_ylabel("loss (nats per token)")
    loss.set_title(title, fontsize=10)
    loss.legend(fontsize=8, frameon=False)
    lr.set_ylabel("learning rate")
    lr.set_xlabel("step")
    for axes in (loss, lr):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file)


def series(rows: list[dict[str, Any]], column: str) -> tuple[list[int], list[float]]:
    """(steps, values) of the rows that have the column."""
    found = [(r["step"], r[column]) for r in rows if r.get(column) is not None]
    return [s for s, _ in found], [v for _, v in found]


def sparkline(values: list[float], width: int = 40) -> str:
    """A curve in one line of text, for terminals and logs."""
    if not values:
        return ""
    picked = [values[int(i * (len(values) - 1) / max(1, min(width, len(values)) - 1))] for i in range(min(width, len(values)))]
    low, span = min(picked), (max(picked) - min(picked)) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[int(7 * (v - low) / span)] for v in picked)
