"""The end of a run, however it ends: write the picture and the summary, print the table, close the loggers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger

from components.core import files
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.publishing import held
from components.core.traits import why_cannot_generate
from components.runs import curves, run_files, run_folder
from components.runs.metrics_file import STEP, TITLES, VAL_BITS, VAL_LOSS, called, measured, read_rows
from components.runs.run_files import Figures
from components.runs.task_module import TaskModule
from components.training.progress import Recorder
from components.training.samples import Samples, judged
from components.training.strategies import shards_weights


class Extra(Protocol):
    """Shows samples and the end of a run in another place, such as W&B."""

    def keep(self, step: int, prompts: list[str], texts: list[str], /) -> None: ...
    def finish(self, picture: Path | None, checkpoint: Path | None, summary: Figures, exit_code: int, /) -> None: ...


@runtime_checkable
class ShowsMore(Protocol):
    """A logger that shows samples and the end of a run as well."""

    def extras(self) -> Extra: ...


def extras_of(loggers: list[Logger], samples: Samples) -> list[Extra]:
    """What must see the samples and the end of a run beside Lightning's loggers: what a logger's own ``extras()`` gives."""
    made: list[Extra] = [logger.extras() for logger in loggers if isinstance(logger, ShowsMore)]
    samples.keep += [extra.keep for extra in made]
    return made


def figures_of(recorder: Recorder, parameters: int, state: str, validated: str | None = None) -> Figures:
    """The contents of summary.json. ``validated`` says how much of its split a validation reads, if not all."""
    shown = (VAL_LOSS, VAL_BITS, STEP, recorder.watched[0])
    best = {f"best_{n}": v for n, v in recorder.best.items() if n in shown}
    also = {"validated": validated} if validated and VAL_LOSS in recorder.final else {}
    return {"state": state, **recorder.final, **also, "seconds": recorder.seconds, **best, "parameters": parameters}


def judge(trainer: Trainer, module: TaskModule, config: Config, accept: Callable[[str], bool] | None) -> Figures:
    """The share of sampled texts that the data's judge accepts, if the data have one."""
    sharded = shards_weights(trainer.strategy)  # its ranks have separated by now, so nobody can gather the weights
    if (
        accept is None
        or not module.judged_samples
        or not trainer.is_global_zero
        or sharded
        or why_cannot_generate(module.model)
    ):
        return {}
    accepted, written = judged(module, config, accept)
    what = (accept.__doc__ or "the data's judge accepts it").strip().splitlines()[0].rstrip(".")
    return {"accepted": f"{accepted} of {written}: {what}", "accepted_share": accepted / written}


def complete(folder: Path, recipe: str, figures: Figures, extras: list[Extra], say: Callable[[str], None]) -> UserError | None:
    """Write curves.png and summary.json, close the loggers, print the table. Failed runs are completed too, so an error is printed and
    returned instead of raised."""
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
        extra.finish(picture, best_of(folder), figures, 0 if figures["state"] in run_files.DONE else 1)
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
    if figures["state"] in ("interrupted", "preempted", "failed") and run_folder.last_of(folder).exists():
        say(f"to go on:    components train resume={folder}   (resume=auto: the newest run)")
    return fault


def best_of(folder: Path) -> Path:
    best = held(folder / "checkpoints" / "best.ckpt")
    return best if best.exists() else run_folder.last_of(folder)


def table(figures: Figures) -> str:
    names = {**TITLES, **{n: f"validation {called(n)}" for n in measured(figures)}}
    names = {name: text for name, text in names.items() if figures.get(name) is not None}
    wide = max([30, *map(len, names.values())]) + 2
    lines = [f"  {text:<{wide}}{shown(figures[name])}" for name, text in names.items()]
    return "\n".join(["", *lines, ""])


def shown(value: float | str | None) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
