"""``init_from=``: a task begins with another run's weights; what that means is said, and what would stay as drawn is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import nn

from components.core.errors import UserError
from components.core.weight_names import first_few, summarize_names
from components.runs.starting import Match, Start, begin_from
from components.training.tuning import tuned


def refuse_frozen(model: nn.Module, config: dict[str, Any], matched: Match) -> None:
    """UserError where a weight that nothing was loaded into would never learn: a head of this run's own beside an adapter."""
    new = {*matched.new, *matched.reshaped}
    stuck = [w for w in tuned(model, config) if w.name in new and not w.parameter.requires_grad]
    for where, option in (("tuning", "but"), ("adapter", "train")):
        names = summarize_names([w.name for w in stuck if (where == "tuning") == (w.rate == 0.0)], matched.sizes)
        if names:
            patterns = dict.fromkeys(re.sub(r"(?<=\.)\d+(-\d+)?(?=\.|$)", "*", n) for n in names)
            said = ", ".join([*config[where].get(option, ()), *patterns])
            raise UserError(
                where,
                f"{first_few(names)}: not in {matched.start.origin} and frozen here, so would stay as drawn",
                f"let it learn: {where}.{option}=[{said}]" if option in config[where] else f"choose another {where}",
            )


def begin_task(task: Any, model: nn.Module, start: Start, say: Callable[[str], None]) -> Match:
    """Have the task's model begin with the weights, and say what that means. ``model``: as it will be, on any device.

    Raises:
        UserError: they do not fit, their ids mean something else, or what they leave out is frozen.
    """
    matched = begin_from(task.tokenizer, model, start, say)
    refuse_frozen(model, task.config, matched)
    task.start_from = matched.load
    return matched
