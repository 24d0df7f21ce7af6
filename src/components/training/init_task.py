"""``init_from=``: start a task with another run's weights. Refuses a new weight that would stay at its random initial value."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from components.core.config_types import Config
from components.core.errors import UserError
from components.core.weight_names import first_few, summarize_names
from components.runs.init_from import Match, Start, begin_from
from components.runs.task_module import TaskModule
from components.training.tuning import tuned


def refuse_frozen(model: nn.Module, config: Config, matched: Match) -> None:
    """UserError if a weight is neither loaded nor trained, such as a new head beside an adapter."""
    new = {*matched.new, *matched.reshaped}
    stuck = [w for w in tuned(model, config) if w.name in new and not w.parameter.requires_grad]
    for where, option in (("tuning", "but"), ("adapter", "train")):
        names = summarize_names([w.name for w in stuck if (where == "tuning") == (w.rate == 0.0)], matched.sizes)
        if names:
            patterns = dict.fromkeys(re.sub(r"(?<=\.)\d+(-\d+)?(?=\.|$)", "*", n) for n in names)
            said = ", ".join([*config[where].get(option, ()), *patterns])
            raise UserError(
                where,
                f"{first_few(names)}: not in {matched.start.origin} and frozen here, so they would stay as drawn",
                f"let it learn: {where}.{option}=[{said}]" if option in config[where] else f"choose another {where}",
            )


def begin_task(task: TaskModule, model: nn.Module, start: Start, say: Callable[[str], None]) -> Match:
    """Let the task's model start with the weights, and report what is loaded. ``model`` may be on any device.

    Raises:
        UserError: the weights do not fit, their ids mean other tokens, or a weight that they lack is frozen.
    """
    matched = begin_from(task.tokenizer, model, start, say)
    refuse_frozen(model, task.config, matched)
    task.start_from = matched.load
    return matched
