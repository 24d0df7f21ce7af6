"""List the runs made here. With two or more names: compare configs, final figures and curves."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from components.core import terminal
from components.core.errors import UserError

if TYPE_CHECKING:
    from components.runs.run_files import Figures

VERB = {
    "sentence": "list the runs made here, or compare two of them",
    "group": "look",
    "takes": ("run",),
}

GOING = "running or killed"  # of a run that has left no summary
DEFAULT = "runs"  # a new project has none yet, and that is no mistake


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="RUN", help="none lists all; two (or more) are compared")
    parser.add_argument("--runs", metavar="FOLDER", help=f"where they are (default: {DEFAULT})")
    parser.add_argument("--json", action="store_true", help="as data")


def run(args: argparse.Namespace) -> int:
    from components.runs import run_folder

    runs = Path(DEFAULT if args.runs is None else args.runs).expanduser()
    if len(args.names) == 1:
        raise UserError("runs", "one run alone is compared with nothing", "give two, or none to list all")
    if args.names:
        return compare([run_folder.find_run(name, runs)[0] for name in args.names], runs, args.json)
    if args.runs is not None and not runs.is_dir():
        raise UserError("--runs", f"there is no folder {runs}", "give the folder that the runs are in")
    found = [(folder, figures_of(folder)) for folder in run_folder.all_runs(runs)]
    apart = own_differences([folder for folder, _ in found])
    if args.json:
        told = [{"run": str(f), "state": GOING, **figures, "not_as_all_others": own} for (f, figures), own in zip(found, apart)]
        terminal.show(json.dumps(told))
        return 0
    if not found:
        terminal.show(f"no runs in {runs}")
        return 0
    from components.core.layout import table
    from components.runs.metrics_file import HEADS, SECONDS, STEP, VAL_BITS, VAL_LOSS, VALIDATION, measured

    rows = [
        (
            str(folder.relative_to(runs)),
            str(f.get("state", GOING)),
            *(_shown(f.get(n)) for n in (STEP, VAL_LOSS, VAL_BITS)),
            next((f"{n.removeprefix(VALIDATION)} {_shown(f[n])}" for n in measured(f)), ""),
            _shown(f.get(SECONDS)),
            own,
        )
        for (folder, f), own in zip(found, apart)
    ]
    head = ("run", "state", *(HEADS[n] for n in (STEP, VAL_LOSS, VAL_BITS)), "measured", HEADS[SECONDS], "not as all others")
    # runs on text have no further metrics, and a single run has no others to differ from
    kept = [i for i in range(len(head)) if head[i] not in ("measured", head[-1]) or any(row[i] for row in rows)]
    terminal.show("\n".join(table([[row[i] for i in kept] for row in rows], head=[head[i] for i in kept], limit=60)))
    for _, f in found:
        if "fault" in f:
            terminal.show(f"damaged: {f['fault']}")
    return 0


def compare(folders: list[Path], runs: Path, as_json: bool) -> int:
    """Print how configs differ, final figures and curves as text; draw the curves into a picture beside the runs."""
    from components.core.files import make_folder
    from components.core.layout import table
    from components.runs import curves, run_files
    from components.runs.metrics_file import TRAIN_LOSS, VAL_LOSS, read_rows

    labels = [label_of(f, runs) for f in folders]
    configs = [flat({k: v for k, v in run_files.read_config(f).items() if k != "components"}) for f in folders]
    keys = [k for k in dict.fromkeys(k for c in configs for k in c) if len({repr(c.get(k, "-")) for c in configs}) > 1]
    figures = [run_files.read_summary(f) for f in folders]
    rows = {label: read_rows(f / "metrics.csv") if (f / "metrics.csv").exists() else [] for label, f in zip(labels, folders)}
    picture = runs / f"compare_{'_'.join(label.strip('/').replace('/', '-') for label in labels)}.png"
    try:
        make_folder(picture.parent)
        curves.draw(rows, picture, " / ".join(labels))
        drawn = str(picture)
    except UserError as e:  # the tables are more important
        terminal.complain(f"note: {e}")
        drawn = None
    if as_json:
        difference = {k: [c.get(k) for c in configs] for k in keys}
        terminal.show(json.dumps({"runs": labels, "difference": difference, "figures": figures, "picture": drawn}))
        return 0
    terminal.show(
        "\n".join(table([(k, *(_shown(c.get(k, "-")) for c in configs)) for k in keys], head=("config", *labels), limit=44))
    )
    terminal.show("no difference in the configs" if not keys else "")
    names = [n for n in dict.fromkeys(n for f in figures for n in f) if any(f.get(n) is not None for f in figures)]
    terminal.show(
        "\n".join(table([(n, *(_shown(f.get(n)) for f in figures)) for n in names], head=("figure", *labels), limit=44))
    )
    terminal.show()
    wide = max(map(len, (TRAIN_LOSS, *curves.measures(rows))))
    for label in labels:
        for column in (TRAIN_LOSS, VAL_LOSS, *curves.measures({label: rows[label]})):
            values = curves.series(rows[label], column)[1]
            if values:
                terminal.show(f"  {label:<40} {column:<{wide}} {curves.sparkline(values)}  {values[0]:.3f} -> {values[-1]:.3f}")
    if drawn:
        terminal.show(f"\ncurves: {drawn}")
    return 0


def own_differences(folders: list[Path]) -> list[str]:
    """For each run its differences from its recipe, without those that all runs share."""
    from components.runs import run_files

    said = []
    for folder in folders:
        try:
            said.append([str(line) for line in run_files.read_about(folder).get("difference", [])])
        except UserError:
            said.append([])
    common = set(said[0]).intersection(*said) if said else set()
    return ["; ".join(line for line in lines if line not in common) for lines in said]


def figures_of(folder: Path) -> Figures:
    """summary.json; {} while a run is going on or if it was killed; for a damaged folder its fault."""
    from components.runs import run_files

    try:
        run_files.read_about(folder)
        return run_files.read_summary(folder)
    except UserError as e:
        return {"state": "damaged", "fault": str(e)}


def label_of(folder: Path, runs: Path) -> str:
    """The path below the folder of runs, or the whole path of a run that lies elsewhere."""
    folder, runs = folder.absolute(), runs.absolute()
    return (folder.relative_to(runs) if folder.is_relative_to(runs) else folder).as_posix()


def flat(config: object, path: str = "") -> dict[str, object]:
    """{dotted path: value}; lists are values."""
    if not isinstance(config, dict) or not config:
        return {path: config}
    return {k: v for key, value in config.items() for k, v in flat(value, f"{path}.{key}".lstrip(".")).items()}


def _shown(value: object) -> str:
    if value is None:
        return ""
    return (
        f"{value:,.4g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )
