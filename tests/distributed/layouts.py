"""How far runs under each layout of ranks are from the run of one process: measured, and as the table of docs/scale.md.

``python tests/distributed/layouts.py`` measures and prints, ``--write`` keeps the figures in docs/layouts.json and renews the table; five minutes on two cores.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import cases
import rank_server

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE, FIGURES = ROOT / "docs" / "scale.md", ROOT / "docs" / "layouts.json"
BEGIN, END = "<!-- written by tests/distributed/layouts.py -->", "<!-- end of layouts -->"
LAUNCHES = {1: ("one",), 2: ("ddp", "fsdp2", "tp"), 4: ("hsdp", "fsdp2_tp", "cp")}  # processes: layouts
TEXT = "\n\n".join(f"the {w} number {i} is here" for i in range(200) for w in ("tree", "stone", "river"))


def launch(ranks: int, layouts: tuple[str, ...], folder: Path, how: str = "all") -> None:
    """All runs of these layouts, or a quarter of them, in one launch of ``ranks`` processes."""
    (folder / "text.txt").write_text(TEXT)
    rank_server.launch(ranks, HERE / "cases.py", str(folder), how, *layouts, folder=folder)


def differences(folder: Path, layout: str) -> dict[str, dict[str, float]]:
    """{run: {weights, train_loss, val_loss}}: the largest difference to the run of one process."""
    found = {}
    for file in sorted((folder / layout).iterdir()):
        assert file.suffix == ".pt", f"{layout}, {file.stem}: {file.read_text()}"
        one, other = torch.load(folder / "one" / file.name), torch.load(file)
        weights = [(w - other["weights"][name]).abs().max().item() for name, w in one["weights"].items()]
        double = file.stem.rpartition(",")[0] not in cases.PRECISIONS
        assert all((w.dtype == torch.float64) == double for w in one["weights"].values() if w.is_floating_point())
        losses = {name: abs(value - other["figures"][name]) for name, value in one["figures"].items()}
        found[file.stem] = {"weights": float(max(weights)), **losses}
    return found


def besides(folder: Path, what: str, layout: str) -> float:
    """The largest difference of the weights of what ran under the layout besides (``dropped``, ``moved``, ``dealt``, ``sent``) to one process."""
    one, other = (torch.load(folder / f"{what}, {name}.pt")["weights"] for name in ("one", layout))
    return max((w - other[name]).abs().max().item() for name, w in one.items())


def measured(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """{layout: differences}."""
    for ranks, layouts in LAUNCHES.items():
        launch(ranks, layouts, folder)
    return {layout: differences(folder, layout) for layouts in LAUNCHES.values() for layout in layouts if layout != "one"}


def table(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """One row for each family, one column for each layout: the largest difference of weights and of losses, with 1 and with 4 micro-batches a step."""
    processes = {layout: n for n, layouts in LAUNCHES.items() for layout in layouts}
    heads = [f"{layout}, {processes[layout]} processes" for layout in figures]
    lines = [f"| weights, losses | {' | '.join(heads)} |", f"|---|{'--:|' * len(heads)}"]
    families = dict.fromkeys(run.rpartition(",")[0] for run in next(iter(figures.values())))
    for family in families:
        cells = []
        for of_layout in figures.values():
            rows = [held for run, held in of_layout.items() if run.rpartition(",")[0] == family]
            losses = [max(r["train_loss"], r["val_loss"]) for r in rows]
            cells.append(f"{max(r['weights'] for r in rows):.0e}, {max(losses):.0e}" if rows else "")
        lines.append(f"| {family} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(text: str, figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """The page with the table of ``figures`` between its marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table(figures)}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        held = measured(Path(made))
    if "--write" in sys.argv:
        FIGURES.write_text(json.dumps(held, indent=1) + "\n")
        PAGE.write_text(page(PAGE.read_text(encoding="utf8"), held), encoding="utf8")
    print(table(held))
