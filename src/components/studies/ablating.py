"""``components ablate``: variants of a recipe trained with the same seeds and budgets, and an answer that says how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from components.core.errors import UserError
from components.runs.run_folder import STUDIES
from components.studies import statistics
from components.studies.asked import Asked, changed, find_study, read_asked
from components.studies.work import Ablation as Ablation
from components.studies.work import Work


def ablate(
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    *,
    seeds: int | None = None,
    design: str | None = None,
    match: str | None = None,
    free: str | None = None,
    tune: str | None = None,
    tune_steps: int | None = None,
    stop: str | None = None,
    metric: str | None = None,
    jobs: int | None = None,
    launcher: str | None = None,
    study: str | Path | None = None,
    dry: bool = False,
    quiet: bool = False,
) -> Ablation:
    """Compare a recipe with variants of it, and say how sure the differences are. The recipe itself is always one of them.

    Every run is a process of its own, found again by its config: a study that was stopped goes on, and runs that another study has made count.

    Args:
        recipe: its name, or a YAML file's path.
        overrides: as on the command line. One with several values, ``model/norm=rms,layer``, says what is compared, all others hold for every run.
        seeds: runs of each variant: the recipe's seed and those that follow. Null: 3.
        design: ``one`` (each choice against the recipe; what null means), ``grid`` (all combinations) or ``cover`` (every two choices together once).
        match: make ``parameters``, ``flops`` (of training, per token) or ``time`` equal to the recipe's, to 0.5 %.
        free: the integer option that is solved for it; null: the width of the feed-forwards, and for time the number of steps.
        tune: options that every variant tunes by itself: ``optimizer.lr:3`` (factors of its own value) or ``optimizer.lr:[1e-3,3e-3]``.
        tune_steps: of a tuning run; null: a quarter of the recipe's.
        stop: ``doubtless``: a variant that is behind beyond doubt gets no more seeds (5 % error over all variants and looks).
        metric: the figure that decides, and further ones behind commas: a run's own (``val_loss``), or one of an evaluation (``cloze.accuracy``), which is
            asked of each run's best checkpoint once. Options of an evaluation are overrides: ``evaluation.cloze.count=500``. Null: val_loss.
        jobs: processes at a time; of several each has one thread. Null: one, or what a launcher takes by itself (joblib: one for each core).
        launcher: one of Hydra's: joblib, submitit_slurm, ...
        study: a study that goes on, by its folder or name: then only ``seeds``, ``jobs``, ``launcher`` and ``dry`` may be given.
        dry: print the plan and its hours, measured on 20 steps of each variant, and train nothing.
        quiet: print nothing.

    Raises:
        UserError: there is nothing to compare, or the recipe cannot be trained.
    """
    statistics.ready()
    cwd = Path.cwd()
    question = {
        "design": design,
        "match": match,
        "free": free,
        "tune": tune,
        "tune_steps": tune_steps,
        "stop": stop,
        "metric": metric,
    }
    if study is not None:
        if overrides or recipe:
            raise UserError("study", "has its own recipe and overrides", "leave them out")
        folder = find_study(str(study), Path("runs") / STUDIES)
        asked = changed(read_asked(folder), seeds=seeds, **question)
    else:
        words = (*((f"recipe={recipe}",) if recipe else ()), *overrides)
        asked = Asked(words, **{k: v for k, v in {"seeds": seeds, **question}.items() if v is not None}).check()
        folder = None
    return Work(asked, cwd, jobs, launcher, quiet=quiet).run(folder, dry=dry)
