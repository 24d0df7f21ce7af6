"""How cost grows: step time and memory over context, depth, width, vocabulary and experts, time of a decoded token over its position.

``python bench/growth.py [--write] [--only context] [--upto 2048]`` measures and prints, in eight minutes at most; ``--write`` keeps the figures in
docs/growth.json and renews the section of docs/performance.md and docs/growth.png, ``--render`` makes these again from what was kept. Times are CPU seconds
of the process with one thread, medians; memory is the most that tensors hold at once, counted and not sampled. The exponent is fitted over the upper half.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

import section
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from components import build
from components.core.makers import make
from components.core.sockets import Batch
from components.core.weights import roles

ROOT = Path(__file__).parent.parent
FIGURES, PICTURE = ROOT / "docs" / "growth.json", ROOT / "docs" / "growth.png"
TOLERANCE = 0.15  # of an exponent, above theory's

Point = dict[str, float]  # ms, and mb for a training step


class Figures(TypedDict):
    """What is kept: the machine, and {series: {size: point}}."""

    machine: str
    series: dict[str, dict[str, Point]]


MIXERS = {"full": "mha", "windowed": "sliding_window", "linear": "linear", "recurrent": "gru"}
CONTEXTS = (128, 256, 512, 1024, 2048, 4096, 8192)
SIZES = {
    "depth": (2, 4, 8, 16, 32),
    "width": (64, 128, 256, 512, 1024),
    "vocabulary": (1024, 4096, 16384, 65536),
    "experts": (4, 8, 16, 32, 64, 128),
}
POSITIONS = (128, 512, 2048, 4096, 8192, 16384)
# what time and memory tend to, as powers of the size; the reasons are told on the page
THEORY: dict[str, tuple[float, float | None]] = {
    "context, full": (2, 1),
    "context, windowed": (1, 1),
    "context, linear": (1, 1),
    "context, recurrent": (1, 1),
    "depth": (1, 1),
    "width": (2, 2),
    "vocabulary": (1, 1),
    "experts": (1, 1),
    "position, full": (1, None),
    "position, windowed": (0, None),
    "position, linear": (0, None),
    "position, recurrent": (0, None),
}


class Held(TorchDispatchMode):
    """``most``: bytes of the tensors that operations made and that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def, override]  # torch's signature
        out = func(*args, **(kwargs or {}))
        old = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and (storage := x.untyped_storage())._cdata not in old:
                old.add(storage._cdata)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self.gone, storage.nbytes())
        return out

    def gone(self, size: int) -> None:
        self.now -= size


def median_ms(work: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(times):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return 1e3 * statistics.median(found)


def step_of(*, length: int, vocab: int = 256, rows: int = 1, **options: object) -> Callable[[], None]:
    """A training step with AdamW of a small decoder."""
    torch.manual_seed(0)
    sizes = {"d_model": 64, "n_layers": 1, "context_length": length, "attention": "mha", "position": "none"}
    model = make({"name": "decoder", **sizes, **options}, "model", vocab_size=vocab)
    ids = torch.randint(0, vocab, (rows, length))
    loss = build("loss", "next_token", vocab_size=vocab)
    optimizer = build("optimizer", "adamw", weights=list(roles(model)), lr=1e-4)

    def step() -> None:
        total, weight = model(Batch(ids, targets=ids), loss).losses["loss"]
        (total / weight).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def of_step(step: Callable[[], None]) -> Point:
    """Median time of three steps or more, and the memory of one; the first makes the optimizer's states."""
    first = median_ms(step, 1)
    with Held() as held:
        step()
    times = 3 if first > 300 else 7
    return {"ms": median_ms(step, times), "mb": held.most / 1e6}


def of_tokens(mixer: str, positions: Sequence[int], tokens: int = 40) -> dict[str, Point]:
    """Median time of a token that is read with a cache, at each of ``positions``."""
    torch.manual_seed(0)
    options = {"d_model": 256, "n_layers": 1, "context_length": positions[-1] + tokens, "position": "none", "ffn": "none"}
    model: nn.Module = make({"name": "decoder", **options, "attention": MIXERS[mixer]}, "model", vocab_size=64).eval()
    cache = build("cache", "ring" if mixer == "windowed" else "growing")
    found: dict[str, Point] = {}
    with torch.inference_mode():
        for position in positions:
            if missing := position - cache.length:
                model(Batch(torch.zeros(1, missing, dtype=torch.long)), cache=cache, last=True)
            one = Batch(torch.zeros(1, 1, dtype=torch.long))
            found[str(position)] = {"ms": median_ms(lambda one=one: model(one, cache=cache, last=True), tokens)}
    return found


def measured(only: str | None = None, upto: int = 2**31) -> dict[str, dict[str, Point]]:
    """{series: {size: point}}, of the series that begin with ``only`` and sizes up to ``upto``."""
    steps: dict[str, Callable[[int], Callable[[], None]]] = {
        f"context, {name}": lambda n, part=part: step_of(length=n, attention=part) for name, part in MIXERS.items()
    }
    steps["depth"] = lambda n: step_of(length=128, n_layers=n)
    steps["width"] = lambda n: step_of(length=128, d_model=n)
    steps["vocabulary"] = lambda n: step_of(length=128, vocab=n)
    steps["experts"] = lambda n: step_of(length=256, ffn={"name": "moe", "n_experts": n})
    found: dict[str, dict[str, Point]] = {}
    for name, step in steps.items():
        if only is None or name.startswith(only):
            first, second, *larger = SIZES.get(name, CONTEXTS)
            sizes = [first, second, *(n for n in larger if n <= upto)]
            found[name] = {str(n): of_step(step(n)) for n in sizes}
            print(line(name, found[name]), flush=True)
    for name in MIXERS:
        if only is None or "position".startswith(only):
            key = f"position, {name}"
            found[key] = of_tokens(name, [*POSITIONS[:2], *(n for n in POSITIONS[2:] if n <= upto)])
            print(line(key, found[key]), flush=True)
    return found


def exponent(points: dict[str, Point], figure: str) -> float:
    """The slope of the logarithms, least squares, over the upper half of the sizes."""
    upper = list(points.items())[-(len(points) // 2 + 1) :]
    x = [math.log(float(n)) for n, _ in upper]
    y = [math.log(max(p[figure], 1e-9)) for _, p in upper]
    return statistics.linear_regression(x, y).slope


def line(name: str, points: dict[str, Point]) -> str:
    """A row of the table."""
    (few, low), *_, (many, high) = points.items()
    time_to, memory_to = THEORY[name]
    cells = [name, f"{int(few):,} to {int(many):,}", f"{low['ms']:.3g} to {high['ms']:.3g}"]
    cells += [f"{exponent(points, 'ms'):.2f}", f"{time_to:g}"]
    if memory_to is None:
        cells += ["", "", ""]
    else:
        cells += [f"{low['mb']:.3g} to {high['mb']:.3g}", f"{exponent(points, 'mb'):.2f}", f"{memory_to:g}"]
    return "| " + " | ".join(cells) + " |"


def faults(series: dict[str, dict[str, Point]]) -> list[str]:
    """What grows faster than the mathematics, by more than the tolerance."""
    found = []
    for name, points in series.items():
        for figure, most in zip(("ms", "mb"), THEORY[name], strict=True):
            if most is not None and (fitted := exponent(points, figure)) > most + TOLERANCE:
                found.append(
                    f"{name}: {'time' if figure == 'ms' else 'memory'} grows with the power {fitted:.2f}, and {most:g} is asked for"
                )
    return found


def text(figures: Figures) -> str:
    """The section of the page."""
    series = figures["series"]
    out = [
        "## How cost grows",
        "",
        "Made by `python bench/growth.py --write`.",
        f"{figures['machine']}; CPU seconds of one thread, medians. Memory is the most that the tensors of a training step hold at once, weights excepted.",
        "Context: one layer, d_model 64, one row, a window of 64. Depth, width and vocabulary: 128 tokens. Experts: 256 tokens, two experts for each.",
        "Position: a token that is read with the cache (`ring` for the window), one layer, d_model 256.",
        "",
        "![time and memory against size, with slopes of theory](growth.png)",
        "",
        "| over | from, to | ms | power | theory | MB | power | theory |",
        "|---|---|---|--:|--:|---|--:|--:|",
        *(line(name, points) for name, points in series.items()),
        "",
        "A power is fitted over the upper half of the sizes; theory's is what it tends to, so that a smaller one means that the costs below it still weigh more.",
        "Full attention compares all pairs, and its kernel keeps none of them. Weights grow with the square of the width. With more experts each token",
        "computes as much, and only the weights and the optimizer's step grow.",
        "",
        "Faster than the mathematics: " + ("; ".join(faults(series)) or "nothing") + ".",
    ]
    return "\n".join(out)


def picture(series: dict[str, dict[str, Point]], to: Path) -> None:
    """Time above, memory below; both axes logarithmic. Thin lines have theory's slopes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = {"context": "tokens of context", "sizes": "times the smallest", "position": "position of the token"}
    figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained")
    for i, (group, label) in enumerate(groups.items()):
        chosen = {n: p for n, p in series.items() if (n.partition(",")[0] if "," in n else "sizes") == group}
        for row, (key, unit) in enumerate((("ms", "ms of a step"), ("mb", "MB of a step"))):
            ax = axes[row][i]
            if group == "position":
                unit = "ms of a token"
                if row == 1:
                    ax.axis("off")
                    continue
            for name, points in chosen.items():
                first = 1.0 if group != "sizes" else float(next(iter(points)))
                x = [float(n) / first for n in points]
                y = [p[key] for p in points.values()]
                (drawn,) = ax.loglog(x, y, marker="o", markersize=3, label=name.rpartition(", ")[2])
                most = THEORY[name][row]
                if most is not None:
                    middle = len(x) // 2
                    ax.loglog(
                        x[middle:], [y[-1] * (v / x[-1]) ** most for v in x[middle:]], lw=0.7, ls="--", color=drawn.get_color()
                    )
            ax.set_xlabel(label)
            ax.set_ylabel(unit)
            ax.grid(alpha=0.3)
            ax.legend(fontsize=8)
    figure.suptitle("Dashed: the slope of theory", fontsize=10)
    figure.savefig(to, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep the figures and renew the section and the picture")
    parser.add_argument("--render", action="store_true", help="renew them from the kept figures")
    parser.add_argument("--only", help="series that begin so: context, depth, width, vocabulary, experts, position")
    parser.add_argument("--upto", type=int, default=2**31, help="leave larger sizes out")
    asked = parser.parse_args()
    if asked.write and (asked.only or asked.upto < 2**31):
        raise SystemExit("--write renews the whole section: leave --only and --upto out")
    if asked.render:
        figures: Figures = json.loads(FIGURES.read_text(encoding="utf8"))
    else:
        torch.set_num_threads(1)
        machine = (
            f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}"
        )
        figures = {"machine": machine, "series": measured(asked.only, asked.upto)}
    if asked.write:
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf8")
    if asked.write or asked.render:
        picture(figures["series"], PICTURE)
        section.put("growth", text(figures))
    print("faster than the mathematics:", "; ".join(faults(figures["series"])) or "nothing")


if __name__ == "__main__":
    main()
