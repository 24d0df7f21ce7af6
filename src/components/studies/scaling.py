"""``components scale``: one recipe trained at several sizes, the law of its loss, and the next size predicted before it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from components.runs.metrics_file import VAL_LOSS
from components.runs.run_folder import STUDIES
from components.studies import statistics
from components.studies.asked import find_study
from components.studies.sizes.question import Question, going_on, read_question
from components.studies.sizes.working import Scaling as Scaling
from components.studies.sizes.working import run


def scale(
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    *,
    sizes: str | int | Sequence[str | int] | None = None,
    next: str | int | None = None,
    tokens: str | float | Sequence[float] | None = None,
    grow: str | None = None,
    rate: str | None = None,
    tune: str | None = None,
    tune_steps: int | None = None,
    metric: str | None = None,
    seeds: int | None = None,
    jobs: int | None = None,
    launcher: str | None = None,
    study: str | Path | None = None,
    dry: bool = False,
    quiet: bool = False,
) -> Scaling:
    """Train a recipe at several sizes, fit how its loss falls, and predict the next size; with ``next`` train it, and say how far off that was.

    Every run is a process of its own, found again by its config: the same call goes on with a study that was stopped.

    Args:
        recipe: its name, or a YAML file's path.
        overrides: as on the command line; they hold for every size.
        sizes: numbers of parameters, such as ``0.2M,0.5M,1M,2M``; or how many sizes, each twice the one before, the last one the recipe's own. Null: 4.
        next: the size that is predicted, and then trained. Null: twice the largest is predicted, and not trained.
        tokens: tokens for each parameter, several to tell size and tokens apart; ``recipe``: as many for every size as the recipe has. Null: as many
            for each parameter as the recipe has.
        grow: ``width``, or ``both`` for depth in the same proportion. Null: ``width`` under muP, whose rules hold for it alone, else ``both``.
        rate: ``mup``: the recipe's learning rate carries over by muP, whose base is the recipe's width; ``own``: the recipe's init and rate as they are.
            Null: ``mup``, or ``own`` where something is tuned.
        tune: options that every size tunes by itself, as `ablate` takes them: ``optimizer.lr:3``.
        tune_steps: of a tuning run; null: a quarter of the shortest run's.
        metric: the figure whose law it is; less of it is better. Null: val_loss.
        seeds: runs of each size. Null: 1.
        jobs: processes at a time; of several each has one thread. Null: one, or what a launcher takes by itself (joblib: one for each core).
        launcher: one of Hydra's: joblib, submitit_slurm, ...
        study: a study that goes on, by its folder or name: then only ``next``, ``seeds``, ``jobs``, ``launcher`` and ``dry`` may be given.
        dry: print the ladder and its hours, measured on 20 steps of each size, and train nothing.
        quiet: print nothing.

    Raises:
        UserError: a size cannot be reached in the recipe's proportions, or fewer than three could be trained.
    """
    statistics.ready()
    if study is not None:
        folder = find_study(str(study), Path("runs") / STUDIES)
        others = {"recipe": recipe, "overrides": overrides, "sizes": sizes, "tokens": tokens, "grow": grow, "rate": rate}
        others |= {"tune": tune, "tune_steps": tune_steps, "metric": metric}
        asked = going_on(read_question(folder), seeds, _text(next), **others)
        return run(asked, Path.cwd(), jobs, launcher, folder=folder, dry=dry, quiet=quiet)
    words = (*((f"recipe={recipe}",) if recipe else ()), *overrides)
    said = _text(sizes) or "4", _text(next), _text(tokens)
    asked = Question(words, *said, grow, rate, tune, tune_steps, metric or VAL_LOSS, 1 if seeds is None else seeds).check()
    return run(asked, Path.cwd(), jobs, launcher, dry=dry, quiet=quiet)


def _text(value: str | float | Sequence[str | float] | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return ",".join(map(str, value)) if isinstance(value, Sequence) else str(value)
