"""EleutherAI's lm-eval on a loaded model: which of its tasks are asked for, their figures, and its own file of results."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from components.core.bar import Bar
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.extras import lacking
from components.core.files import make_folder, write_json
from components.corpus.evaluation_api import Figure
from components.evaluating.requests import WHERE, Answers
from components.runs.task_module import LoadedModel

FOLDER, LIMIT = f"{WHERE}_folder", f"{WHERE}_limit"


@dataclass(frozen=True)
class Harness:
    """What the settings ``harness``, ``harness_folder`` and ``harness_limit`` ask for.

    Args:
        tasks: names of tasks, groups or tags, patterns of them, or mappings with the key ``task`` and what to change of it.
        folder: of YAML tasks beside lm-eval's own.
        limit: so many documents of each task, the first ones; None: all.
    """

    tasks: Sequence[str | Mapping[str, object]]
    folder: Path | None = None
    limit: int | None = None

    @classmethod
    def of(cls, config: Config) -> Harness | None:
        """From a config of ``components evaluate``; None where it names no task.

        Raises:
            UserError: a value of another type, or a folder that is not there.
        """
        tasks, folder, limit = config.get(WHERE), config.get(FOLDER), config.get(LIMIT)
        tasks = [tasks] if isinstance(tasks, (str, dict)) else tasks
        if not tasks:
            return None
        if not isinstance(tasks, list) or not all(isinstance(t, str) or (isinstance(t, dict) and "task" in t) for t in tasks):
            raise UserError(
                WHERE, f"{json.dumps(tasks)} is no list of tasks", f"{WHERE}=[arc_easy,{{task: hellaswag, num_fewshot: 10}}]"
            )
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise UserError(LIMIT, f"{limit!r} is no number of documents", f"write {LIMIT}=100")
        place = None if folder is None else Path(str(folder)).expanduser()
        if place is not None and not place.is_dir():
            raise UserError(FOLDER, f"there is no folder {folder}", "name one with YAML files of tasks")
        return cls(tasks, place, limit)

    def measure(self, loaded: LoadedModel, bar: Bar | None = None) -> Results:
        """Ask all tasks. UserError: a task is unknown or cannot be read, or the model gives no likelihood."""
        answers = Answers(loaded, bar)
        from components.evaluating.lm_eval_model import results_of

        return Results(results_of(answers, self.tasks, self.folder, self.limit))


@dataclass(frozen=True)
class Results:
    """``raw``: what lm-eval gives."""

    raw: dict[str, Any]

    def figures(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """{task or group: {metric: {value, error, count, chance}}}; a metric of a filter is ``metric/filter``."""
        counts = {name: of["effective"] for name, of in self.raw["n-samples"].items()}
        found: dict[str, dict[str, dict[str, float | None]]] = {}
        for task, row in self.raw["results"].items():
            for key, value in row.items():
                metric, comma, filtered = key.partition(",")
                if not comma or metric.endswith("_stderr") or not isinstance(value, (int, float)):
                    continue
                error = row.get(f"{metric}_stderr,{filtered}")
                count = counts.get(task, sum(counts.get(t, 0) for t in self.raw["group_subtasks"].get(task, ())))
                figure = Figure(float(value), float(error) if isinstance(error, (int, float)) else None, count)
                found.setdefault(task, {})[metric if filtered == "none" else f"{metric}/{filtered}"] = asdict(figure)
        return found

    def flat(self) -> dict[str, float]:
        """{harness/task/metric: value}, and ``_stderr`` of each that has one, as a tracker takes them."""
        found: dict[str, float] = {}
        for task, row in self.figures().items():
            for metric, figure in row.items():
                for end, value in (("", figure["value"]), ("_stderr", figure["error"])):
                    found |= {} if value is None else {f"{WHERE}/{task}/{metric}{end}": value}
        return found

    def write(self, folder: Path, checkpoint: Path) -> Path:
        """lm-eval's own file of results into ``harness/`` of a run's folder, with the checkpoint that was asked."""
        held = json.loads(json.dumps(self.raw, default=str))
        held["config"] |= {"model": "/".join(folder.absolute().parts[-2:]), "model_args": {"checkpoint": checkpoint.name}}
        file = make_folder(folder / WHERE) / f"results_{time.strftime('%Y-%m-%dT%H-%M-%S')}.json"
        write_json(file, held)
        return file


def need_lm_eval() -> None:
    """UserError if lm-eval is not installed."""
    if find_spec("lm_eval") is None:
        raise lacking(WHERE, "needs the package lm-eval", "lm_eval")
