"""What a study over sizes says: report.html, report.md, and the table in the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from components.core import layout
from components.core.errors import printable
from components.core.files import write_text
from components.studies.report.html import document, figure, items, soft, table
from components.studies.report.page import tuning_table
from components.studies.report.svg import Axis, LogAxis, Picture, safe
from components.studies.sentences import amount
from components.studies.sizes.backtest import Backtest, sentence
from components.studies.sizes.law import COMPUTE, Law, Point
from components.studies.sizes.prediction import Prediction
from components.studies.study import DONE, REPORTED, Study

SHOWN = "Dots: single runs. Ring: what the law says of the next size, with its interval; the dot of another colour within or near it: what was found."
LIMITS = (
    "Intervals are by a bootstrap of residuals: they tell how far noise of this size moves the law, and not whether the law holds beyond these sizes: "
    "that is what the ladder tested on itself shows. "
    "Few small sizes are a short lever: trust a prediction of twice the largest, and doubt one of a hundred times."
)


@dataclass(frozen=True)
class Told:
    """What is shown."""

    study: Study
    points: Sequence[Point]
    law: Law
    by_compute: Law | None
    prediction: Prediction
    backtest: Backtest | None = None

    def rows(self) -> list[tuple[str, ...]]:
        """A row for each size of the ladder, in order, and the next one."""
        costs = dict.fromkeys((p.parameters, p.tokens, p.flops) for p in self.points)
        made = []
        for cost in costs:
            loss = fmean(p.loss for p in self.points if (p.parameters, p.tokens, p.flops) == cost)
            made.append(
                (
                    self.named(*cost[:2]),
                    f"{cost[0]:,}",
                    f"{cost[1]:,}",
                    amount(cost[2]),
                    f"{loss:.4f}",
                    f"{self.law.loss(*cost):.4f}",
                )
            )
        p = self.prediction
        found = "not trained" if p.found is None else f"{p.found:.4f}"
        return [*made, (f"next: {p.size}", f"{p.parameters:,}", f"{p.tokens:,}", amount(p.flops), found, f"{p.loss:.4f}")]

    def named(self, parameters: int, tokens: int) -> str:
        """The size that has so many parameters and reads so many tokens."""
        first = self.points[0]
        per_step = first.tokens // next(v.steps for v in self.study.variants if v.parameters == first.parameters)
        found = {(v.parameters, v.steps): v.name for v in self.study.variants}
        return found.get((parameters, tokens // per_step), amount(parameters))

    @property
    def tested(self) -> str:
        """How far off the ladder is of its own dearest size."""
        held = self.backtest
        return sentence(held, "" if held is None else self.named(held.parameters, held.tokens))

    @property
    def head(self) -> tuple[str, ...]:
        """Of the rows."""
        return "size", "parameters", "tokens", "FLOPs", self.study.metric, "by the law"

    def laws(self) -> list[Law]:
        """The law, and that over FLOPs where it is another one."""
        return [self.law, *([self.by_compute] if self.by_compute is not None and self.by_compute is not self.law else [])]

    def failed(self) -> list[str]:
        return [f"{r.variant}, seed {r.seed}: {r.error}" for r in self.study.runs if r.role == REPORTED and r.state != DONE]


def constants(law: Law) -> list[tuple[str, str, str]]:
    """(name, value, 95 %) of each."""
    shown = []
    for name, value in law.constants.items():
        interval = law.intervals.get(name)
        shown.append((name, f"{value:.4g}", "" if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}"))
    return shown


def notes(law: Law) -> list[str]:
    """What the fit does not tell."""
    found = ["These sizes show no floor: E is next to nothing, and the law is a plain power."] if law.no_floor else []
    if not law.intervals:
        found.append(
            "No more runs than constants, so the law goes through them all and has no intervals: take more sizes, or seeds=3."
        )
    return found


def terminal(told: Told) -> str:
    """As a person reads it after the last run."""
    lines = [*layout.table([tuple(map(printable, r)) for r in told.rows()], head=told.head), ""]
    for law in told.laws():
        said = ", ".join(f"{n} = {v}" + (f" ({i})" if i else "") for n, v, i in constants(law))
        lines += [*layout.paragraph(f"{law.form}: {said}", indent=2), *(f"  {n}" for n in notes(law))]
    lines += ["", *layout.paragraph(told.prediction.sentence, indent=2), *layout.paragraph(told.tested, indent=2)]
    return "\n".join([*lines, *(f"  failed: {printable(f)}" for f in told.failed())])


def write(folder: Path, told: Told) -> None:
    """``report.html`` and ``report.md``, over those that are there."""
    write_text(folder / "report.html", html(told))
    write_text(folder / "report.md", markdown(told))


def html(told: Told) -> str:
    """One file that loads nothing and runs no script."""
    laws = ""
    for law in told.laws():
        laws += f"<h3><code>{safe(law.form)}</code></h3>" + table(("constant", "value", "95 % by bootstrap"), constants(law))
        laws += items(notes(law)) if notes(law) else ""
    pictures = [figure(chart(told, "FLOPs"), "loss over FLOPs"), figure(chart(told, "parameters"), "loss over parameters")]
    command = shlex.join(["components", "scale", *told.study.words])
    sections = {
        "prediction": (
            "The next size",
            f"<p><b>{safe(told.prediction.sentence)}</b></p><p>{safe(told.tested)}</p>" + soft(LIMITS),
        ),
        "ladder": ("The ladder", table(told.head, told.rows(), caption="Means over seeds")),
        "law": ("The law", "".join(pictures) + soft(SHOWN) + laws),
        "sizes": (
            "What each size changes",
            "".join(f"<h3>{safe(v.name)}</h3>{items(v.difference)}" for v in told.study.variants),
        ),
        "tuning": ("What was tuned", tuning_table(told.study)),
        "missing": ("What did not run", items(told.failed()) if told.failed() else ""),
        "repeat": ("How to repeat it", f"<pre tabindex='0'><code>{safe(command)}</code></pre>"),
    }
    lead = f"{told.study.metric} over {len(told.rows()) - 1} sizes, and what they say of the next one."
    return document(
        f"Sizes of {told.study.recipe}", lead, sections, "All figures are in study.json and law.json beside this page."
    )


def markdown(told: Told) -> str:
    lines = [
        f"# Sizes of {told.study.recipe}",
        "",
        told.prediction.sentence,
        "",
        told.tested,
        "",
        _line(told.head),
        _line(["---"] * len(told.head)),
    ]
    lines += [_line(row) for row in told.rows()]
    for law in told.laws():
        lines += ["", f"`{law.form}`", "", "| constant | value | 95 % |", "| --- | --- | --- |", *map(_line, constants(law))]
        lines += ["", *notes(law)] if notes(law) else []
    return "\n".join([*lines, "", LIMITS, *(f"\nFailed: {f}" for f in told.failed())]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(c.replace('|', chr(92) + '|') for c in cells)} |"


def chart(told: Told, over: str) -> str:
    """Single runs, the law as a line where one follows from this cost alone, and the next size: predicted, with its interval, and found."""
    p, flops = told.prediction, over == "FLOPs"
    picture = Picture(720, 360, f"loss over {over}, which is on a logarithmic scale")
    at = p.flops if flops else p.parameters
    costs = [q.flops if flops else q.parameters for q in told.points]
    law = next((law for law in told.laws() if law.form == COMPUTE), None) if flops else None
    losses = [q.loss for q in told.points] + [p.loss, *(p.interval or ()), *([p.found] if p.found is not None else [])]
    x, y = LogAxis([*costs, at], 70, 708), Axis(losses, 312, 30)
    picture.axes(x, y, under=over, beside=told.study.metric)
    if law is not None:
        low, high = min(*costs, at), max(*costs, at)
        grid = [low * (high / low) ** (i / 60) for i in range(61)]
        picture.line([(x(f), y(law.loss(1, 1, f))) for f in grid], "curve c1")
    for cost, q in zip(costs, told.points):
        picture.dot(
            x(cost), y(q.loss), "point c0", told=f"{amount(q.parameters)} parameters, {q.tokens:,} tokens: {q.loss:.4f}"
        )
    if p.interval is not None:
        picture.line([(x(at), y(p.interval[0])), (x(at), y(p.interval[1]))], "range c1")
    picture.dot(x(at), y(p.loss), "hollow c1", size=6, told=f"{p.size}: {p.loss:.4f} predicted")
    if p.found is not None:
        picture.dot(x(at), y(p.found), "point c2", size=5, told=f"{p.size}: {p.found:.4f} found")
    return str(picture)
