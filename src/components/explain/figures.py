"""The pictures of the page as matplotlib figures, for notebooks, papers and loggers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from components.explain.answers import layer_name, readable_path
from components.explain.table import chosen
from components.explain.trace import Network, Token, Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS, LABELS = 48, 40  # maps in one figure; tokens up to which their texts stand at the axes
SEEN, SIGNED = "cividis", "PuOr"  # both read by colour-blind eyes, the first in grey as well
PLUS, MINUS = "#0b57a4", "#b25400"


def figures(trace: Trace) -> dict[str, Figure]:
    """{name: figure}, those of ``attention``, ``lens``, ``stream``, ``predictions``, ``influence``, ``network`` and ``gradients`` that the trace has."""
    made = {
        "attention": attention(trace),
        "lens": lens(trace),
        "stream": stream(trace),
        "predictions": predictions(trace),
        "influence": influence(trace),
        "network": None if trace.network is None else network(trace.network),
        "gradients": gradients(trace),
    }
    return {name: figure for name, figure in made.items() if figure is not None}


def new_figure(width: float, height: float) -> Figure:
    """A figure of ``width`` by ``height`` inches that belongs to no window and to no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from components.explain.notebook_figure import NotebookFigure

    figure = NotebookFigure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def axis_texts(texts: Iterable[str]) -> list[str]:
    """Texts as matplotlib may show them: no line breaks, and no dollar sign that would begin a formula."""
    return [t.replace("\n", "⏎").replace("\t", "⇥").replace("$", r"\$")[:12] for t in texts]


def texts(tokens: Sequence[Token]) -> list[str]:
    return [t.text for t in tokens]


def attention(trace: Trace) -> Figure | None:
    """Layers down, heads across."""
    panels = [(m, head) for m in trace.mixers for head in range(m.heads)][:PANELS]
    if not panels:
        return None
    columns = max(1, min(8, max(m.heads for m, _ in panels)))
    rows = -(-len(panels) // columns)
    figure = new_figure(2.3 * columns + 0.6, 2.4 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (m, head) in zip(grid.flat, panels):
        columns_of = trace.source if m.crossed and trace.source else trace.tokens
        panel(axes, m.weights.tensor[head], m.path, head, texts(columns_of))
    return figure


def weights_figure(weights: Tensor, path: str, tokens: Sequence[str] | None) -> Figure:
    """The weights (H, Tq, Tk) of one mixer, a panel for each head."""
    heads = list(weights.detach().float().cpu())[:PANELS]
    columns = min(4, len(heads))
    rows = -(-len(heads) // columns)
    figure = new_figure(2.3 * columns + 0.6, 2.4 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(heads) :]:
        axes.set_visible(False)
    for head, (axes, map_) in enumerate(zip(grid.flat, heads)):
        panel(axes, map_, path, head, tokens or ())
    return figure


def panel(axes: Axes, weights: Tensor, path: str, head: int, tokens: Sequence[str]) -> None:
    """One map of weights (Tq, Tk): queries down, keys across."""
    signed = bool((weights < -1e-6).any())
    most = float(weights.abs().max()) or 1.0
    low, colours = (-most, SIGNED) if signed else (0.0, SEEN)
    axes.imshow(weights.numpy(), cmap=colours, vmin=low, vmax=most, interpolation="nearest")
    axes.set_title(f"{readable_path(path).removeprefix('the ')}, head {head}", fontsize=6.5)
    ticks(axes, tokens, weights.shape[-1], "x")
    axes.set_yticks([])


def ticks(axes: Axes, tokens: Sequence[str], count: int, which: str) -> None:
    """The tokens at the axis ``which``, x or y, where there is room for them."""
    if len(tokens) == count <= LABELS:
        size = 6 if count <= 24 else 4
        getattr(axes, f"set_{which}ticks")(range(count), axis_texts(tokens), fontsize=size, rotation=90 if which == "x" else 0)
        axes.tick_params(length=1)
    else:
        axes.tick_params(labelsize=5)


def lens(trace: Trace) -> Figure | None:
    """The probability that the head gives, after each layer, to the token that follows."""
    if not trace.lens:
        return None
    values = torch.tensor([[float("nan") if p is None else p for p in row.next] for row in trace.lens])
    figure = new_figure(0.28 * values.shape[1] + 1.8, 0.32 * values.shape[0] + 1.4)
    axes = figure.subplots()
    shown = axes.imshow(values.numpy(), cmap=SEEN, vmin=0.0, vmax=1.0, aspect="auto", interpolation="nearest")
    names = [row.after if n == 0 else layer_name(row.after) for n, row in enumerate(trace.lens)]
    axes.set_yticks(range(len(names)), names, fontsize=7)
    ticks(axes, texts(trace.tokens), values.shape[1], "x")
    axes.set_title("probability of the token that follows, by layer", fontsize=8)
    figure.colorbar(shown, ax=axes, shrink=0.8).ax.tick_params(labelsize=6)
    return figure


def stream(trace: Trace) -> Figure | None:
    """The length of the stream and of what each branch wrote, at the position before the first answer."""
    side, t = len(trace.sides) - 1, chosen(trace)
    layers = [x for x in trace.layers if x.side == side]
    if not layers:
        return None
    figure = new_figure(6, 3)
    axes = figure.subplots()
    norms = [float(layers[0].norm_before.tensor[t]), *(float(x.norm.tensor[t]) for x in layers)]
    axes.plot(range(len(norms)), norms, color="0.2", marker="o", markersize=3, label="stream")
    for name in dict.fromkeys(b.name for x in layers for b in x.branches):
        each = [(n + 1, float(b.norm.tensor[t])) for n, x in enumerate(layers) for b in x.branches if b.name == name]
        axes.plot(*zip(*each), marker="s", markersize=3, linewidth=1, linestyle="--", label=f"{name} wrote")
    axes.set_xticks(range(len(norms)))
    axes.set(xlabel="layers passed", ylabel="length (L2)", ylim=(0, None))
    axes.legend(fontsize=7, frameon=False)
    return figure


def predictions(trace: Trace) -> Figure | None:
    """The likeliest tokens of each step of the writing, or of the chosen position; for labels all of them."""
    if trace.whole is not None:
        names, values = trace.whole.names, trace.whole.p or trace.whole.scores
        return bars([("", names, values, trace.whole.likeliest)])
    steps, word = trace.steps, trace.words
    panels = []
    for step in steps[:6]:
        top = step.stages[-1].top[:8]
        ids = [c.id for c in top]
        at = ids.index(step.chosen) if step.chosen in ids else -1
        panels.append((f"step {len(panels) + 1}", [word[str(i)] for i in ids], [c.p for c in top], at))
    if not panels and trace.predictions:
        top = trace.predictions[chosen(trace)].top[:8]
        panels.append(("likeliest", [word[str(c.id)] for c in top], [c.p for c in top], -1))
    return bars(panels) if panels else None


def bars(panels: Sequence[tuple[str, list[str], list[float], int]]) -> Figure:
    """A panel for each (title, names, values, index of the marked one)."""
    figure = new_figure(2.3 * len(panels) + 0.6, 2.6)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, names, values, marked) in zip(grid, panels):
        colours = [MINUS if i == marked else PLUS for i in range(len(names))]
        axes.barh(range(len(names)), values, color=colours)
        axes.set_yticks(range(len(names)), axis_texts(names), fontsize=7)
        axes.invert_yaxis()
        axes.tick_params(axis="x", labelsize=6)
        axes.set_title(title, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def influence(trace: Trace) -> Figure | None:
    """What each token adds to the logit of each answer, to first order."""
    if trace.influence is None or min(trace.influence.tensor.shape) < 2:
        return None
    values = trace.influence.tensor
    figure = new_figure(0.26 * values.shape[1] + 1.6, 0.24 * values.shape[0] + 1.4)
    axes = figure.subplots()
    most = float(values.abs().max()) or 1.0
    shown = axes.imshow(values.numpy(), cmap=SIGNED, vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
    ticks(axes, texts(trace.source or trace.tokens), values.shape[1], "x")
    ticks(axes, texts(trace.tokens), values.shape[0], "y")
    axes.set_title("what each token adds to the logit of what follows (gradient × embedding)", fontsize=7)
    figure.colorbar(shown, ax=axes, shrink=0.8).ax.tick_params(labelsize=6)
    return figure


def network(shown: Network) -> Figure:
    """Every weight on its line, every neuron in its circle."""
    layers = shown.layers
    columns = [layers[0].inputs[-1], *(x.outputs[-1] for x in layers)]
    most = max(map(len, columns))
    figure = new_figure(2.6 * len(columns), 0.9 * most + 0.6)
    axes = figure.subplots()
    axes.axis("off")
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(-0.8, most - 0.2))
    height = [[(most - len(c)) / 2 + len(c) - 1 - i for i in range(len(c))] for c in columns]
    top = max(abs(w) for x in layers for row in x.weights for w in row) or 1.0
    for n, x in enumerate(layers):
        for j, row in enumerate(x.weights):
            for i, w in enumerate(row):
                ends = (height[n][i], height[n + 1][j])
                style = {"color": MINUS if w < 0 else PLUS, "linestyle": "--" if w < 0 else "-", "alpha": 0.75}
                axes.plot((n, n + 1), ends, linewidth=0.4 + 3 * abs(w) / top, zorder=1, **style)
                if len(row) * len(x.weights) <= 60:
                    f = 0.2 + 0.6 * ((i + 2 * j) % len(row) + 0.5) / len(row)
                    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
                    axes.text(
                        n + f, ends[0] + f * (ends[1] - ends[0]), f"{w:.3g}", fontsize=6, ha="center", va="center", bbox=box
                    )
    for n, values in enumerate(columns):
        label = shown.names.inputs if n == 0 else shown.names.outputs if n == len(columns) - 1 else []
        for i, v in enumerate(values):
            axes.scatter(n, height[n][i], s=620, facecolor="white", edgecolor="0.2", zorder=2)
            axes.text(n, height[n][i], f"{v:.3g}", fontsize=7, ha="center", va="center", zorder=3)
            if label:
                axes.text(n, height[n][i] + 0.36, label[i], fontsize=7, ha="center", color="0.35")
    return figure


def gradients(trace: Trace) -> Figure | None:
    """The gradient of all weights of each layer, on a logarithmic axis."""
    if trace.backward is None:
        return None
    rows = [(layer_name(r.path), r.gradient) for r in trace.backward.layers]
    figure = new_figure(5.5, 0.26 * len(rows) + 1.1)
    axes = figure.subplots()
    axes.barh(range(len(rows)), [v for _, v in rows], color=PLUS)
    axes.set_yticks(range(len(rows)), [n for n, _ in rows], fontsize=7)
    axes.invert_yaxis()
    if all(v > 0 for _, v in rows):
        axes.set_xscale("log")
    axes.set_xlabel("|gradient of the loss|", fontsize=8)
    return figure
