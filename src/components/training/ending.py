"""What a run leaves when it ends, however it ends: the picture, the summary, and loggers that are closed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.core import files
from components.core.errors import UserError
from components.core.traits import silent_reason
from components.runs import curves, records, run_folder
from components.runs.metrics_file import measured, read_rows
from components.training.samples import judged
from components.training.strategies import shards_weights

SHOWN = {
    "state": "state",
    "step": "steps",
    "tokens": "tokens",
    "seconds": "seconds of training",
    "tokens_per_second": "tokens per second",
    "mfu": "model FLOPs utilisation",
    "idle_steps": "steps that asked for nothing",
    "skipped_steps": "steps skipped as outliers",
    "parameters": "parameters",
    "unread_weights": "weights that nothing reads",
    "train_loss": "training loss",
    "val_loss": "validation loss",
    "validated": "validation measured on",
    "val_perplexity": "validation perplexity",
    "val_bits_per_byte": "validation bits per byte",
    "best_val_loss": "best validation loss",
    "best_step": "at step",
    "accepted": "samples accepted",
}


def extras_of(loggers: list[Any], samples: Any) -> list[Any]:
    """What beside Lightning's loggers must see the samples (``keep``) and the end (``finish``): what a logger's own ``extras()`` gives."""
    made = [logger.extras() for logger in loggers if callable(getattr(logger, "extras", None))]
    samples.keep += [extra.keep for extra in made]
    return made


def figures_of(recorder: Any, parameters: int, state: str, validated: str | None = None) -> dict[str, Any]:
    """What summary.json holds; ``validated`` where a validation measures a part of its split alone."""
    shown = ("val_loss", "val_bits_per_byte", "step", recorder.watched[0])
    best = {f"best_{n}": v for n, v in recorder.best.items() if n in shown}
    also = {"validated": validated} if validated and "val_loss" in recorder.final else {}
    return {"state": state, **recorder.final, **also, "seconds": recorder.seconds, **best, "parameters": parameters}


def judge(trainer: Any, module: Any, config: dict[str, Any], accept: Callable[[str], bool] | None) -> dict[str, Any]:
    """The share of whole texts that the data's own test accepts, if it has one."""
    sharded = shards_weights(trainer.strategy)  # its ranks have parted by now, so nobody could gather the weights
    if accept is None or not module.judged_samples or not trainer.is_global_zero or sharded or silent_reason(module.model):
        return {}
    accepted, written = judged(module, config, accept)
    what = (accept.__doc__ or "the data's judge accepts it").strip().splitlines()[0].rstrip(".")
    return {"accepted": f"{accepted} of {written}: {what}", "accepted_share": accepted / written}


def complete(
    folder: Path, recipe: str, figures: dict[str, Any], extras: list[Any], say: Callable[[str], None]
) -> UserError | None:
    """curves.png, summary.json, the table, and the loggers' end. Called for failed runs too, so what cannot be written is said and returned."""
    picture, fault = folder / "curves.png", None
    try:
        rows = read_rows(folder / "metrics.csv") if (folder / "metrics.csv").exists() else []
        if rows:
            curves.draw({recipe: rows}, picture, f"{recipe}  {folder.name}")
    except (OSError, UserError) as e:
        fault = e if isinstance(e, UserError) else files.unwritable(picture, e)
        say(f"no picture: {fault}")
    try:
        run_folder.write_json(folder / "summary.json", figures)
    except UserError as e:
        fault = e
        say(f"no summary: {e}")
    for extra in extras:
        extra.finish(picture, best_of(folder), figures, 0 if figures["state"] in records.DONE else 1)
    say(table(figures))
    for name, text in (
        ("curves.png", "curves"),
        ("samples.txt", "samples"),
        ("metrics.csv", "figures"),
        ("checkpoints", "checkpoints"),
        ("fit-profile.txt", "profile"),
    ):
        if (folder / name).exists():
            say(f"{text:<12} {folder / name}")
    if figures["state"] in ("interrupted", "preempted", "failed") and (folder / "checkpoints" / "last.ckpt").exists():
        say(f"to go on:    components train resume={folder}   (resume=auto: the newest run)")
    return fault


def best_of(folder: Path) -> Path:
    best = folder / "checkpoints" / "best.ckpt"
    return best if best.exists() else folder / "checkpoints" / "last.ckpt"


def table(figures: dict[str, Any]) -> str:
    names = {**SHOWN, **{n: f"validation {n.removeprefix('val_').replace('_', ' ')}" for n in measured(figures)}}
    names = {name: text for name, text in names.items() if figures.get(name) is not None}
    wide = max([30, *map(len, names.values())]) + 2
    lines = [f"  {text:<{wide}}{shown(figures[name])}" for name, text in names.items()]
    return "\n".join(["", *lines, ""])


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
