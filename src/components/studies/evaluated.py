"""Evaluations of a study's runs: each run once, by its best checkpoint, on the CPU; what was found is kept in the study's folder."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from components.core.content import MOST
from components.core.errors import UserError
from components.core.files import make_folder, read_json, write_json
from components.studies.metrics import Metrics
from components.studies.study import DONE, FAILED, StudyRun
from components.training.run import evaluate

FOLDER = "evaluations"


def with_figures(made: StudyRun, run: Path, study: Path, metrics: Metrics) -> StudyRun:
    """The run with what evaluations found in it; failed where they cannot ask it, since no seed of it could be compared."""
    if made.state != DONE or not metrics.evaluations:
        return made
    try:
        return replace(made, figures={**made.figures, **evaluated(run, study, metrics)})
    except UserError as e:
        error = " ".join(str(e).split()).replace(str(run), "the run")
        return replace(made, state=FAILED, error=error, figures={}, curve={})


def file_of(run: Path, study: Path) -> Path:
    """Where the figures of a run are kept. The run's name is the hash of what it is, the options are the study's question: none can be stale."""
    return study / FOLDER / f"{run.name}.json"


def evaluated(run: Path, study: Path, metrics: Metrics) -> dict[str, float | None]:
    """{``cloze.accuracy``: its value} of one run, measured unless it is kept.

    Args:
        run: the folder of one that is done.
        study: the study's.
        metrics: which evaluations, and their options.

    Raises:
        UserError: the model or its data cannot answer, or what is kept is damaged.
    """
    file = file_of(run, study)
    if not file.is_file():
        make_folder(file.parent)
        write_json(file, evaluate(run, metrics.overrides)["evaluations"])
    held = read_json(file, most=MOST)  # also of what was just measured: one that goes on sees the same numbers
    try:
        found = {
            f"{name}.{figure}": float(said["value"]) for name in metrics.evaluations for figure, said in held[name].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(str(file), "is damaged: it holds no figures", "remove it: the run is evaluated again") from None
    return {name: found[name] if math.isfinite(found[name]) else None for name in metrics.names if name in found}
