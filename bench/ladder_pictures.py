"""The pictures of docs/ladder.md, drawn from the figures of docs/ladder.json; colours of Okabe & Ito, which colour-blind eyes tell apart."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from components.explain.figures import axis_texts, network, new_figure
from components.explain.trace import Ends, Linear, Network

Found = dict[str, Any]
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
SEEN, PLAIN = "cividis", "0.35"
VANISHED, EXPLODED = 1e-30, 1e30  # gradients beyond are drawn here: single precision ends at 1e-45 and 3e38


def saved(figure: Any, file: Path) -> None:
    """A small PNG of 128 colours, the same for the same figures."""
    from PIL import Image

    drawn = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(drawn, metadata={"Software": None})
    Image.open(drawn).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)


def panels(count: int = 1, width: float = 8.0, height: float = 3.4, **options: Any) -> tuple[Any, list[Any]]:
    figure = new_figure(width, height)
    figure.set_dpi(100)
    made = list(figure.subplots(1, count, squeeze=False, **options)[0])
    for axes in made:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure, made


def named(axes: Any, title: str = "", x: str = "", y: str = "", legend: bool = True) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    if legend:
        axes.legend(fontsize=8, frameon=False)


def line(axes: Any, points: list[list[float]], n: int, label: str | None = None, **options: Any) -> None:
    style = {"color": COLOURS[n], "linestyle": DASHES[n], "linewidth": 1.5} | options
    axes.plot(*zip(*points, strict=True), label=label, **style)


def heads(looked: Found) -> Any:
    """Attention weights of each head, rows read columns."""
    weights, names = torch.tensor(looked["weights"]), axis_texts(looked["tokens"])
    most = float(weights[:, 2:].max())  # the first rows have nothing else to read
    figure, made = panels(len(weights), width=max(5.0, 3.1 * len(weights)), height=4.6 if len(weights) == 1 else 3.5)
    for n, (axes, values) in enumerate(zip(made, weights, strict=True)):
        axes.grid(False)
        shown = axes.imshow(values.numpy(), cmap=SEEN, vmin=0.0, vmax=most, interpolation="nearest")
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names if n == 0 else [""] * len(names), fontsize=7)
        named(axes, f"head {n + 1}", "is read", "reads" if n == 0 else "", legend=False)
    figure.colorbar(shown, ax=made, shrink=0.8).ax.tick_params(labelsize=7)
    return figure


def leaf_flower(found: Found) -> dict[str, Any]:
    layers, names = ([Linear(**layer) for layer in found["network"]["layers"]], Ends(**found["network"]["names"]))
    return {"01_network": network(Network(layers, names, softmax=True))}


def perceptron(found: Found) -> dict[str, Any]:
    figure, (score, moved) = panels(2)
    marks = [0.1 * n for n in range(11)]
    for n, name in enumerate(("graded", "threshold")):
        run = found["runs"][name][0]
        line(score, list(zip(marks, run["by_third_mark"], strict=True)), n, name, marker="o", markersize=3)
        for weight, (before, after) in enumerate(zip(run["before"][0], run["after"][0], strict=True)):
            at = weight + 0.25 * n - 0.12
            moved.annotate(
                "", (at, after), (at, before), arrowprops={"arrowstyle": "->", "color": COLOURS[n], "linewidth": 1.4}
            )
            moved.plot(at, before, marker="s", color=COLOURS[n], markersize=4, label=f"{name}: drawn" if weight == 0 else None)
            moved.plot(
                at,
                after,
                marker="o",
                color=COLOURS[n],
                markersize=7,
                alpha=0.6,
                label=f"{name}: learnt" if weight == 0 else None,
            )
    for weight, worth in enumerate((0.8, 0.4, 1.2)):
        moved.plot(
            (weight - 0.35, weight + 0.35), (worth, worth), color=PLAIN, linestyle=":", label="worth" if weight == 0 else None
        )
    moved.set_ylim(top=1.75)
    moved.set_xticks(range(3), ["judge 1", "judge 2", "judge 3"])
    named(score, "what the unit says", "third mark (the others 0.1)", "score")
    named(moved, "its weights", "", "weight")
    return {"02_units": figure}


def next_character(found: Found) -> dict[str, Any]:
    figure, made = panels(len(found["panels"]), height=2.4)
    written = "humpty dumpt"
    for axes, step in zip(made, found["panels"], strict=True):
        names = [{" ": "␣", "\n": "⏎"}.get(n, n) for n in step["names"]]
        colours = [COLOURS[1] if n == step["chosen"] else COLOURS[0] for n in step["names"]]
        axes.barh(range(len(names)), step["p"], color=colours)
        axes.set_yticks(range(len(names)), names, fontsize=9, family="monospace")
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        named(axes, f'"{written[-12:]}"', "probability", legend=False)
        axes.title.set_family("monospace")
        axes.title.set_fontsize(8)
        written += step["chosen"]
    return {"03_steps": figure}


def embedding(found: Found) -> dict[str, Any]:
    figure, (axes,) = panels(1, width=7)
    for n, (rung, runs) in enumerate(found["runs"].items()):
        for run in runs:
            line(axes, run["curve"], n, f"ladder/{rung}" if run is runs[0] else None, linewidth=1, alpha=0.8)
    axes.set_yscale("log")
    named(axes, f"{len(runs)} seeds each", "step", "training loss (nats per character)")
    table, (places,) = panels(1, width=5.5, height=4.4)
    for text, x, y in found["table"]["rows"]:
        vowel = text in "aeiou"
        places.plot(x, y, marker="o", color=COLOURS[1] if vowel else COLOURS[0], markersize=3)
        places.annotate({" ": "␣", "\n": "⏎"}.get(text, text), (x, y), xytext=(3, 2), textcoords="offset points", fontsize=10)
    named(places, f"the table's rows, {found['table']['share']:.0%} of their spread (vowels orange)", legend=False)
    return {"04_loss": figure, "04_table": table}


def subwords(found: Found) -> dict[str, Any]:
    figure, (axes,) = panels(1, width=7)
    for n, (name, runs) in enumerate(found["runs"].items()):
        for run in runs:
            factor = run["val_bits_per_byte"] / run["val_loss"]
            points = [[s, v * factor] for s, v in run["curve"]["validation"]]
            line(axes, points, n, f"tokenizer={name}" if run is runs[0] else None, marker="o", markersize=3)
    named(axes, "validation", "step", "bits per byte")
    return {"05_bits": figure}


def deep_residual(found: Found) -> dict[str, Any]:
    figure, made = panels(len(found["gradients"]), width=9, height=3.6, sharey=True)
    for axes, (depth, each) in zip(made, found["gradients"].items(), strict=True):
        for n, (name, norms) in enumerate(each.items()):
            points = [[i + 1, min(max(v, VANISHED), EXPLODED) if v == v else EXPLODED] for i, v in enumerate(norms)]
            line(axes, points, n, name)
        axes.set_yscale("log")
        named(axes, f"{depth} layers", "layer", "norm of the gradient (0: at 1e-30)" if axes is made[0] else "", legend=False)
    figure.legend(*made[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    loss, (axes,) = panels(1, width=7)
    for n, (name, runs) in enumerate(found["runs"].items()):
        for run in runs:
            line(axes, run["curve"]["train"], n, name if run is runs[0] else None, linewidth=1.1)
    axes.axhline(found["frequencies"], color=PLAIN, linestyle=":", label="frequencies of characters alone")
    named(axes, "128 layers", "step", "training loss (nats per character)")
    return {"08_gradients": figure, "08_loss": loss}


def curves(axes: Any, run: Found, n: int, label: str) -> None:
    """Training loss thin, validation loss with points."""
    line(axes, run["curve"]["train"], n, f"{label}: train", linewidth=1, alpha=0.55)
    line(axes, run["curve"]["validation"], n, f"{label}: validation", marker="o", markersize=4)


def gpt(found: Found) -> dict[str, Any]:
    figure, (axes,) = panels(1, width=7)
    curves(axes, found["runs"][0], 0, "seed 0")
    axes.lines[-1].set_color(COLOURS[1])
    named(axes, "", "step", "loss (nats per token)")
    return {"09_loss": figure}


def recurrent(found: Found) -> dict[str, Any]:
    figure, (axes,) = panels(1, width=7)
    for n, (name, runs) in enumerate(found["runs"].items()):
        for run in runs:
            points = list(zip(found["lengths"], run["by_length"], strict=True))
            line(axes, points, n, name if run is runs[0] else None, marker="os"[n], markersize=4)
    axes.set_ylim(-0.02, 1.05)
    named(axes, f"{len(runs)} seeds each", "digits of the number", "exact match")
    return {"10_length": figure}


def translation(found: Found) -> dict[str, Any]:
    crossed = found["crossed"]
    values = torch.tensor(crossed["weights"])
    figure, (axes,) = panels(1, width=6.4, height=5)
    axes.grid(False)
    shown = axes.imshow(values.numpy(), cmap=SEEN, aspect="auto", interpolation="nearest")
    for which, names in (("x", crossed["source"]), ("y", crossed["tokens"])):
        getattr(axes, f"set_{which}ticks")(range(len(names)), axis_texts(names), fontsize=8)
    axes.tick_params(axis="x", rotation=90)
    named(
        axes,
        "what the last layer reads of the source, mean of its heads",
        "is read",
        "reads, to write what follows",
        legend=False,
    )
    figure.colorbar(shown, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)
    return {"11_source": figure}


def variants(found: Found) -> dict[str, Any]:
    figure, (axes,) = panels(1, width=7)
    for n, (name, runs) in enumerate(found["runs"].items()):
        line(axes, runs[0]["curve"]["validation"], n, name, marker="o", markersize=3)
    named(axes, "seed 0", "step", "validation loss (nats per token)")
    return {"12_loss": figure}


def tuned(name: str, ylabel: str) -> Callable[[Found], dict[str, Any]]:
    def draw(found: Found) -> dict[str, Any]:
        figure, (axes,) = panels(1, width=7)
        for n, kind in enumerate(("pretrained", "from scratch")):
            curves(axes, found["runs"][kind][0], n, kind)
        named(axes, "seed 0", "step", ylabel)
        return {name: figure}

    return draw


def patches(found: Found) -> dict[str, Any]:
    shown = found["shown"]
    figure = new_figure(8, 2.2)
    grid = figure.subplots(2, 10).flat
    for axes, image, said, truth in zip(grid, shown["images"], shown["said"], shown["truth"], strict=False):
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=16, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        right = said == truth
        axes.set_title(f"{said}" if right else f"{said}, is {truth}", fontsize=8, color="0.2" if right else COLOURS[1])
    figure.suptitle(
        f"unseen digits and what the model says; {shown['wrong']} of {shown['of']} are wrong, those first", fontsize=9
    )
    return {"15_digits": figure}


def fitting(found: Found) -> dict[str, Any]:
    names = [n for n in found["runs"] if n != "stopped early"]
    figure, made = panels(len(names), width=9, height=3.2, sharey=True)
    for axes, name in zip(made, names, strict=True):
        curves(axes, found["runs"][name], 0, name)
        for n, drawn in enumerate(axes.lines):
            drawn.set_color(COLOURS[n])
            drawn.set_label(("train", "validation")[n])
        if name == "too long":
            stop = found["runs"]["stopped early"]["step"]
            axes.axvline(stop, color=PLAIN, linestyle=":", label="early stopping ends here")
        axes.set_yscale("log")
        named(axes, name, "step", "loss" if axes is made[0] else "")
    return {"fitting": figure}


PICTURES_OF: dict[str, Callable[[Found], dict[str, Any]]] = {
    "01": leaf_flower,
    "02": perceptron,
    "03": next_character,
    "04": embedding,
    "05": subwords,
    "06": lambda found: {"06_attention": heads(found["looked"])},
    "07": lambda found: {"07_heads": heads(found["looked"])},
    "08": deep_residual,
    "09": gpt,
    "10": recurrent,
    "11": translation,
    "12": variants,
    "13": tuned("13_curves", "loss (nats per text)"),
    "14": tuned("14_curves", "loss (nats per token of the answer)"),
    "15": patches,
    "fit": fitting,
}
