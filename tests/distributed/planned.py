"""``components plan`` held against what ranks of real runs hold: measured, and as the table of docs/scale.md.

``python tests/distributed/planned.py`` measures and prints, ``--write`` keeps the figures in docs/plan.json and renews the table; two minutes on two cores.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import held
import layouts

from components.compose import compose
from components.training.estimate.estimating import Subject
from components.training.estimate.layouts import layout_of
from components.training.estimate.step import Step

PAGE, FIGURES = layouts.ROOT / "docs" / "scale.md", layouts.ROOT / "docs" / "plan.json"
BEGIN, END = "<!-- written by tests/distributed/planned.py -->", "<!-- end of planned -->"
LAUNCHES = {
    2: ("ddp", "fsdp2", "tp", "cp", "tp with experts dealt out", "tp with positions dealt out"),
    4: ("fsdp2", "hsdp", "fsdp2_tp", "cp", "tp with both dealt out"),
}
VOCABULARY = 300
KEPT = ("parameters", "gradients", "optimizer")
Figures = dict[str, dict[str, list[dict[str, int]]]]


def measured(ranks: int, folder: Path) -> Figures:
    """{"layout, family, rows, what besides, ranks": {held: [{...} of each rank], planned: likewise}} of one launch."""
    (folder / "text.txt").write_text(layouts.TEXT)
    layouts.rank_server.launch(ranks, layouts.HERE / "held.py", str(folder), *LAUNCHES[ranks], folder=folder)
    found: Figures = {}
    for run, of_ranks in json.loads((folder / f"held-{ranks}.json").read_text()).items():
        layout, family, rows, more = run.split(", ")
        found[f"{run}, {ranks}"] = {"held": of_ranks, "planned": planned(family, layout, int(rows), more, ranks, folder)}
    return found


def planned(family: str, layout: str, rows: int, more: str, ranks: int, folder: Path) -> list[dict[str, int]]:
    """What is foretold of each rank."""
    config = compose(None, held.overrides(family, layout, rows, more, ranks), cwd=folder).config
    subject, over = Subject(config, VOCABULARY), layout_of(config["trainer"], ranks, ranks)
    states = [subject.state(over, rank) for rank in range(ranks)]
    peak = subject.peak(over, Step(rows, checkpointing=more == "checkpointed"))
    # DDP's buckets live in C++, where torch's tracker does not look
    seen = peak.total - (peak.buffers if layout == "ddp" else 0)
    return [{**{name: getattr(s, name) for name in KEPT}, "peak": seen} for s in states]


def peaks(run: str, both: dict[str, list[dict[str, int]]]) -> list[tuple[int, int]]:
    """(counted, planned) of each rank whose peak is planned: under cp of the last one, whose stretch reads all keys and values; where experts are dealt out
    the mean of the ranks, since loads are planned as even."""
    found = [(held["peak"], told["peak"]) for held, told in zip(both["held"], both["planned"], strict=True)]
    if run.startswith(("tp with experts", "tp with both")):
        return [(sum(counted for counted, _ in found) // len(found), found[0][1])]
    return found[-1:] if run.startswith("cp,") else found


def table(figures: Figures) -> str:
    lines = [
        "| strategy, processes | model | rows | parameters | gradients | optimizer | planned | most at once | planned | off by |"
    ]
    lines.append("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for run, both in figures.items():
        layout, family, rows, more, ranks = run.split(", ")
        real = both["held"][0]
        same = "the same" if all([r[n] for r in both["held"]] == [t[n] for t in both["planned"]] for n in KEPT) else "differs"
        cells = [f"{real[n]:,}" for n in KEPT]
        most, foretold = peaks(run, both)[0]
        peak = [f"{most:,}", f"{foretold:,}", f"{foretold / most - 1:+.0%}"]
        lines.append(
            f"| {layout}, {ranks} | {family}{f', {more}' if more else ''} | {rows} | {' | '.join(cells)} | {same} | {' | '.join(peak)} |"
        )
    return "\n".join(lines)


def page(text: str, figures: Figures) -> str:
    """The page with the table of ``figures`` between its marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table(figures)}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        found = {run: both for ranks in LAUNCHES for run, both in measured(ranks, Path(made)).items()}
    if "--write" in sys.argv:
        FIGURES.write_text(json.dumps(found, indent=1) + "\n")
        PAGE.write_text(page(PAGE.read_text(encoding="utf8"), found), encoding="utf8")
    print(table(found))
