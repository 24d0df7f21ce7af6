"""muP held to its two promises on small decoders: activations keep their scale over width, and the best learning rate carries over.

``python bench/mup.py [--write] [--quick]``; ten to twenty minutes on one core, no downloads. ``--write`` renews docs/mup.md and docs/mup.png.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components import build
from components.core.sockets import Layer
from components.core.weights import initialise, roles

DOCS = Path(__file__).parent.parent / "docs"
WIDTHS, SEEDS, STEPS = (32, 64, 128, 256, 512), (0, 1, 2), 3
BASE, HEAD_DIM, LAYERS, LENGTH, ROWS, VOCAB = 64, 16, 2, 32, 16, 128
# at d = 64 the two are the same: they differ in what they make of another width
INITS = {
    "mup": {"name": "mup", "base_width": BASE},
    "standard": {"name": "kaiming", "gain": 1.0, "embedding_std": 1.0},
}
# the coordinate check also shows muP without the head's first values
CHECKED = {"mup": INITS["mup"], "mup, head: zero": {**INITS["mup"], "head": "zero"}, "standard": INITS["standard"]}
MODULES = (
    "argparse",
    "ast",
    "collections",
    "configparser",
    "copy",
    "csv",
    "datetime",
    "difflib",
    "doctest",
    "fractions",
    "inspect",
    "tarfile",
)
COORDINATE_RATE = 2**-7
RATES = tuple(2.0**-k for k in range(11, 3, -1))
TRAIN_STEPS, LAST = 200, 25


def text() -> Tensor:
    """Source of Python's own library as bytes below 128: real text that is there without a download."""
    found = "".join(Path(str(import_module(m).__file__)).read_text(encoding="utf-8") for m in MODULES)
    return torch.tensor([b for b in found.encode() if b < VOCAB])


def decoder(width: int, init: dict, seed: int) -> nn.Module:
    sizes = {"vocab_size": VOCAB, "d_model": width, "n_layers": LAYERS, "context_length": LENGTH}
    model = build("model", "decoder", **sizes, attention={"name": "mha", "n_heads": width // HEAD_DIM}, init=init)
    initialise(model, model.init, seed=seed)
    return model


def optimizer(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    scale = getattr(model.init, "lr_scale", None)
    weights = [replace(w, lr_scale=scale(w)) if scale else w for w in roles(model)]
    return build("optimizer", "adamw", weights=weights, lr=lr, weight_decay=0.0)


def batch(data: Tensor, step: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1_000_003 * seed + step)
    starts = torch.randint(0, len(data) - LENGTH - 1, (ROWS,), generator=generator)
    rows = torch.stack([data[i : i + LENGTH + 1] for i in starts])
    return rows[:, :-1], rows[:, 1:]


def keep(seen: list[Tensor], module: nn.Module, inputs: tuple, out: Any) -> None:  # noqa: ARG001  what a hook is given
    seen.append((out[0] if isinstance(out, tuple) else out).detach())


def coordinates(data: Tensor, width: int, init: dict, seed: int) -> dict[str, list[Tensor]]:
    """What each watched module gives for the same batch after 0, 1, ... steps on that batch."""
    model = decoder(width, init, seed)
    opt = optimizer(model, COORDINATE_RATE)
    seen: dict[str, list[Tensor]] = {}
    watched = {"attention 0": model.stack.layers[0].block.attention, f"ffn {LAYERS - 1}": model.stack.layers[-1].block.ffn}
    watched |= {"stream": next(m for m in reversed(list(model.modules())) if isinstance(m, Layer)), "logits": model.head}
    for name, module in watched.items():
        module.register_forward_hook(partial(keep, seen.setdefault(name, [])))
    ids, targets = batch(data, 0, seed=0)
    for _ in range(STEPS + 1):
        loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
        opt.zero_grad()
        loss.backward()
        opt.step()
    return seen


def measured(data: Tensor, widths: tuple[int, ...]) -> dict[tuple[str, str, int], list[tuple[float, float]]]:
    """{(init, module, step): [(mean |value|, mean |value - first value|) for each width]}, means over seeds."""
    found: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for kind, init in CHECKED.items():
        for width in widths:
            runs = [coordinates(data, width, init, seed) for seed in SEEDS]
            for name in runs[0]:
                for step in range(STEPS + 1):
                    size = statistics.mean(r[name][step].abs().mean().item() for r in runs)
                    change = statistics.mean((r[name][step] - r[name][0]).abs().mean().item() for r in runs)
                    found.setdefault((kind, name, step), []).append((size, change))
    return found


def slope(widths: tuple[int, ...], values: list[float]) -> float:
    """Of log value against log width."""
    x, y = [math.log(w) for w in widths], [math.log(max(v, 1e-12)) for v in values]
    return statistics.linear_regression(x, y).slope


def final_loss(data: Tensor, width: int, init: dict, lr: float, steps: int) -> float:
    """Mean training loss of the last steps; warm-up over a tenth, then linear to zero. No repetition in the data: each batch is new."""
    model = decoder(width, init, seed=0)
    opt = optimizer(model, lr)
    rate = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min((s + 1) / (0.1 * steps), (steps - s) / (0.9 * steps)))
    losses = []
    for step in range(steps):
        ids, targets = batch(data, step + 1, seed=1)
        loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
        opt.zero_grad()
        loss.backward()
        opt.step()
        rate.step()
        losses.append(loss.item())
    return statistics.mean(losses[-LAST:])


def sweep(data: Tensor, widths: tuple[int, ...], steps: int) -> dict[tuple[str, int], list[float]]:
    found = {}
    for kind, init in INITS.items():
        for width in widths:
            if kind == "standard" and width == BASE:
                found[kind, width] = found["mup", width]  # the same model, see INITS
                continue
            found[kind, width] = [final_loss(data, width, init, lr, steps) for lr in RATES]
            print(kind, width, [f"{v:.3f}" for v in found[kind, width]], flush=True)
    return found


def picture(widths: tuple[int, ...], sizes: dict, losses: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogFormatterSciNotation

    figure, axes = plt.subplots(2, 3, figsize=(12, 6.4), layout="constrained")
    for row, kind in zip(axes, INITS, strict=True):
        for ax, name in zip(row, ("stream", "logits"), strict=False):
            for step in range(STEPS + 1):
                ax.plot(
                    widths,
                    [v for v, _ in sizes[kind, name, step]],
                    "o-",
                    color=plt.cm.viridis(step / STEPS),
                    label=f"step {step}",
                )
            ax.set(xscale="log", yscale="log", title=f"{kind}: {name}, mean |value|", xlabel="d_model")
            ax.set_xticks(widths, [str(w) for w in widths], minor=False)
            ax.xaxis.minorticks_off()
            ax.yaxis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(2, 0.5)))
        row[0].legend(fontsize=8)
        for (of, width), values in losses.items():
            if of == kind:
                colour = "C0" if width == BASE else "C1"
                row[2].plot(RATES, values, "o-", color=colour, label=f"d = {width}")
                best = min(range(len(values)), key=values.__getitem__)
                row[2].plot(RATES[best], values[best], "*", color=colour, markersize=14)
        row[2].set(xscale="log", title=f"{kind}: loss after {TRAIN_STEPS} steps", xlabel="learning rate")
        row[2].legend(fontsize=8)
    for column in (0, 1):
        low, high = min(a.get_ylim()[0] for a in axes[:, column]), max(a.get_ylim()[1] for a in axes[:, column])
        for ax in axes[:, column]:
            ax.set_ylim(low, high)
    for ax in axes[:, 2]:
        ax.set_ylim(min(map(min, losses.values())) - 0.1, sorted(v for vs in losses.values() for v in vs)[-3])
    figure.savefig(path, dpi=110)


def page(widths: tuple[int, ...], sizes: dict, losses: dict, seconds: float) -> str:
    names = list(dict.fromkeys(n for _, n, _ in sizes))
    lines = [
        "# muP: activations that keep their scale, a learning rate that carries over",
        "",
        f"`python bench/mup.py --write` wrote this page and the picture ({seconds / 60:.0f} minutes on one shared core, torch "
        f"{torch.__version__.split('+')[0]}). `model.init={{name: mup, base_width: {BASE}}}` is Yang et al. 2022, arXiv:2203.03466, table 3: hidden "
        "matrices with variance 1 / fan-in, the head with 1 / fan-in², Adam's rate for both divided by d_model / base_width, the embedding and "
        f"all vectors as they are. Beside it the standard rule (`kaiming`, gain 1, one rate for all). At d_model = {BASE} the two are the same "
        f"model. Decoder of {LAYERS} layers, heads of {HEAD_DIM} channels, bytes of Python's own library, {ROWS} x {LENGTH} tokens a step, AdamW without decay.",
        "",
        "![mean activations against width, and loss against learning rate](mup.png)",
        "",
        "## Coordinate check",
        "",
        f"Mean |value| of what leaves a module, on one batch, before and after {STEPS} steps of AdamW (rate {COORDINATE_RATE:g}) on that batch; "
        f"means over seeds {', '.join(map(str, SEEDS))}. Slope: of log value against log width, 0 for what does not depend on the width.",
        "",
        "| init | module | step | " + " | ".join(f"d = {w}" for w in widths) + " | slope | slope of the change since step 0 |",
        "|---|---|---|" + "---|" * (len(widths) + 2),
    ]
    for kind in CHECKED:
        for name in names:
            for step in (0, 1, STEPS):
                values = sizes[kind, name, step]
                change = f"{slope(widths, [c for _, c in values]):+.2f}" if step else ""
                cells = " | ".join(f"{v:.3g}" for v, _ in values)
                own = f"{slope(widths, [v for v, _ in values]):+.2f}" if values[0][0] else ""
                lines.append(f"| {kind} | {name} | {step} | {cells} | {own} | {change} |")
    worst = {
        k: max(abs(slope(widths, [c for _, c in sizes[k, n, s]])) for n in names for s in range(1, STEPS + 1)) for k in INITS
    }
    lines += [
        "",
        f"Largest |slope| of a change over modules and steps 1 to {STEPS}: "
        + ", ".join(f"{v:.2f} ({k})" for k, v in worst.items())
        + ". The first logits under muP shrink as 1 / sqrt(width): table 3 asks for that, since the head's variance is 1 / fan-in². "
        "The same first values, read against hidden vectors that have changed, are why the logits' change begins with a negative slope, which "
        "steps make smaller; with `head: zero` there are none.",
        "",
        "## Learning rate",
        "",
        f"Mean loss (nats per byte) of the last {LAST} of {TRAIN_STEPS} steps, each batch new, one seed; warm-up over a tenth, then linear to zero. "
        "Bold: the best of a row.",
        "",
        "| init | d_model | " + " | ".join(f"2^{round(math.log2(r))}" for r in RATES) + " |",
        "|---|---|" + "---|" * len(RATES),
    ]
    for (kind, width), values in losses.items():
        best = min(values)
        lines.append(f"| {kind} | {width} | " + " | ".join(f"**{v:.3f}**" if v == best else f"{v:.3f}" for v in values) + " |")
    lines += [
        "",
        *verdict(losses),
        "",
        "## What it does not cover",
        "",
        "Only d_model, heads and d_ff growing together with head_dim as it is. A tied head is the embedding and would need a divisor that grows "
        "with the width. The factors are AdamW's: `muon` applies them to its AdamW part (head), and not to hidden matrices, whose "
        "orthogonalised steps have one size at every width. Decay is divided by a group's factor, so that its share per step is the same.",
        "",
    ]
    return "\n".join(lines)


def verdict(losses: dict) -> list[str]:
    narrow, wide = min(w for _, w in losses), max(w for _, w in losses)
    said = []
    for kind in INITS:
        small, large = losses[kind, narrow], losses[kind, wide]
        here, there = small.index(min(small)), large.index(min(large))
        cost = large[here] - min(large)
        said.append(
            f"- {kind}: the best rate at d = {narrow} is 2^{round(math.log2(RATES[here]))}, at d = {wide} 2^{round(math.log2(RATES[there]))} "
            f"({abs(here - there)} steps of the grid apart). Training d = {wide} with the narrow model's rate costs {cost:.3f} nats against its own best."
        )
    best = {kind: min(losses[kind, wide]) for kind in INITS}
    said.append(
        f"- What carries over is the rate; a lower loss is not promised. At d = {wide}, each at its own best rate: {best['mup']:.3f} (mup), "
        f"{best['standard']:.3f} (standard). One seed, two widths, a short run: a check of the rules, no study of them."
    )
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="renew docs/mup.md and docs/mup.png")
    parser.add_argument("--quick", action="store_true", help="the coordinate check up to d = 128, no training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began, data = time.monotonic(), text()
    widths = WIDTHS[:3] if options.quick else WIDTHS
    sizes = measured(data, widths)
    for (kind, name, step), values in sizes.items():
        change = f"{slope(widths, [c for _, c in values]):+.2f}" if step else ""
        print(f"{kind:9} {name:12} step {step}: {slope(widths, [v for v, _ in values]):+.2f} {change}", flush=True)
    if options.quick:
        return
    losses = sweep(data, (BASE, 4 * BASE), TRAIN_STEPS)
    print("\n".join(verdict(losses)))
    if options.write:
        picture(widths, sizes, losses, DOCS / "mup.png")
        (DOCS / "mup.md").write_text(page(widths, sizes, losses, time.monotonic() - began), encoding="utf-8")


if __name__ == "__main__":
    main()
