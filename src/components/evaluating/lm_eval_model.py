"""A loaded model as lm-eval's own ``LM``, and lm-eval's tasks. The only file that imports lm-eval."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports]  # an extra that `dev` leaves out
from lm_eval.evaluator import simple_evaluate  # pyright: ignore[reportMissingImports]
from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

from components.core.errors import UserError, nearest
from components.evaluating.requests import WHERE, Answers

T = TypeVar("T", covariant=True)
Named = str | Mapping[str, object]  # a task by its name, or with settings of its own
OFFLINE = "needs the network once; or name a task with data of your own: dataset_path: json, dataset_kwargs: {data_files: FILE}"


class Request(Protocol[T]):
    """One of lm-eval's requests: what is asked."""

    @property
    def args(self) -> T: ...


class Asked(LM):
    """lm-eval's requests, handed to `Answers`."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self.answers, self.max_length, self.eot_token_id = answers, answers.limit, answers.begins

    def loglikelihood(self, requests: Sequence[Request[tuple[str, str]]]) -> list[tuple[float, bool]]:
        return [(found.log_probability, found.greedy) for found in self.answers.loglikelihood([r.args for r in requests])]

    def loglikelihood_rolling(self, requests: Sequence[Request[tuple[str]]]) -> list[float]:
        return self.answers.loglikelihood_rolling([text for (text,) in (r.args for r in requests)])

    def generate_until(self, requests: Sequence[Request[tuple[str, Mapping[str, object]]]]) -> list[str]:
        return self.answers.generate_until([r.args for r in requests])


class Tasks(TaskManager):
    """lm-eval's tasks, and those of a folder, which go before them. What cannot be loaded is one line.

    ``shipped=False``: those of the folder alone; to read all of lm-eval's own takes seconds.
    """

    def __init__(self, folder: Path | None, *, shipped: bool = True) -> None:
        super().__init__(include_path=None if folder is None else str(folder), include_defaults=shipped)

    def named(self, tasks: Sequence[Named]) -> list[str | dict[str, object]]:
        """``tasks`` with patterns (``mmlu_*``) replaced by the names that fit. UserError for an unknown name, with the nearest."""
        found: list[str | dict[str, object]] = []
        for task in tasks:
            name = name_of(task)
            fit = self.match_tasks([name])
            if not fit:
                raise UserError(WHERE, f"unknown task {name!r}", nearest(name, self.all_tasks, called="tasks"))
            found += fit if isinstance(task, str) else [dict(task)]
        return found

    def load(self, task_list: Sequence[Named]) -> dict[str, dict[str, object]]:
        said = ", ".join(map(name_of, task_list))
        try:
            loaded = super().load(
                [one for task in task_list for one in ([task] if isinstance(task, str) else self._changed(task))]
            )
        except OSError as e:  # of the hub, of the network, of files
            raise UserError(WHERE, f"the data of {said} cannot be read: {_line(e)}", OFFLINE) from e
        except Exception as e:  # whatever the YAML or the Python of a task raises: none of ours runs in there
            raise UserError(
                WHERE, f"lm-eval does not load {said}: {type(e).__name__}: {_line(e)}", "look at the task's file"
            ) from e
        for name, task in loaded["tasks"].items():
            if getattr(task, "UNSAFE_CODE", False):
                raise UserError(WHERE, f"{name} runs code that the model writes", "leave it out")
            if getattr(task, "MULTIMODAL", False):
                raise UserError(WHERE, f"{name} shows pictures or sound, and the model reads text", "leave it out")
        return loaded

    def _changed(self, task: Mapping[str, object]) -> list[object]:
        """A known task or group with settings of its own: lm-eval changes members of a group alone, so it is one for a moment."""
        loaded = super().load([{"group": WHERE, "task": [dict(task)]}])
        group = loaded["groups"].get(name_of(task))
        return [*loaded["tasks"].values()] if group is None else [group]


def results_of(answers: Answers, tasks: Sequence[Named], folder: Path | None, limit: int | None) -> dict[str, Any]:
    """What lm-eval's ``simple_evaluate`` gives. Its prints go to the error output, where its bars are.

    Raises:
        UserError: a task is unknown, or its files or data cannot be read.
    """
    with redirect_stdout(sys.stderr):
        manager = None if folder is None else Tasks(folder, shipped=False)
        if manager is None or not {*map(name_of, tasks)} <= {*manager.all_subtasks}:
            manager = Tasks(folder)
        found = simple_evaluate(
            model=Asked(answers), tasks=manager.named(tasks), task_manager=manager, limit=limit, log_samples=False
        )
    assert found is not None  # it is so on ranks that are not the first
    return found


def name_of(task: Named) -> str:
    return task if isinstance(task, str) else str(task["task"])


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
