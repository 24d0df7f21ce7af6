"""report.md: the answer for a pull request or a wiki, with the pictures beside it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from components.core.errors import printable
from components.studies.answer import Answer, reported
from components.studies.report import tables
from components.studies.study import DONE, Study

SPECIAL = re.compile(r"([\\`*\[\]<>|&$~!])")


def markdown(study: Study, answer: Answer, pictures: Mapping[str, str]) -> str:
    """The report; ``pictures``: {file: what it shows}."""
    lines = [f"# Ablation of {plain(study.recipe)}", "", f"{plain(tables.question(study))}.", ""]
    for row in answer.rows:
        if row.effect is not None:
            lines.append(f"- {code(row.variant)}: **{plain(row.effect.sentence)}**")
    lines += ["", *_table(answer), "", plain(tables.method(answer)), "", plain(tables.pairing(answer)), ""]
    lines += [f"![{plain(what)}]({file})" for file, what in pictures.items()]
    for effect in answer.secondary:
        lines.append(f"- {code(effect.variant)}, {plain(effect.metric)}: {plain(effect.sentence)}")
    edges = [(v.name, t) for v in study.variants for t in tables.trials(study, v.name) if t.edge]
    if edges:
        lines += ["", "## Tuning", ""]
        lines += [
            f"- {code(name)}: the best {plain(', '.join(t.edge))} lies at the edge of what was tried" for name, t in edges
        ]
    failed = [r for v in study.variants for r in reported(study, v.name) if r.state != DONE]
    if study.refused or failed:
        lines += ["", "## What did not run", ""]
        lines += [f"- {code(' '.join(r.overrides))}: {plain(r.reason)}" for r in study.refused]
        lines += [f"- {code(r.variant)}, seed {r.seed}: {plain(r.error or 'failed')}" for r in failed]
    command = printable(shlex.join(["components", "ablate", *study.words]))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", command)), default=0))
    return "\n".join([*lines, "", "## How to repeat it", "", f"{fence}sh", command, fence, ""])


def _table(answer: Answer) -> list[str]:
    head = (
        "variant",
        plain(answer.metric),
        "difference",
        "95 %",
        "p (Holm)",
        "parameters",
        "FLOPs/token",
        "tokens/s",
        "memory",
    )
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    for row in answer.rows:
        e = row.effect
        told = (
            ("recipe", "", "") if e is None else (tables.difference(e), tables.interval(e.interval), tables.p_value(e.p_holm))
        )
        cells = (tables.level(row)[0], *told, *tables.costs(row))
        lines.append(_row([code(row.variant), *map(plain, cells)]))
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def code(name: str) -> str:
    """A name as code; with backslashes where it has signs that would end the code or the cell."""
    name = printable(name)
    return f"`{name}`" if name and "`" not in name and "|" not in name else plain(name)


def plain(text: str) -> str:
    """Text in which nothing is markup."""
    return SPECIAL.sub(r"\\\1", printable(text))
