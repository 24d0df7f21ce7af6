"""A combination composed, and built on the meta device: what it costs, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.compose.composed import compose
from components.core.config_types import Config
from components.core.errors import UserError
from components.runs.vocabulary import vocabulary
from components.training.estimate.answering import subject_of
from components.training.estimate.estimating import Subject
from components.training.estimate.step import rows_of
from components.training.limits import total_steps
from components.training.preflight import check_settings


@dataclass(frozen=True)
class Built:
    """A combination that can be trained.

    Args:
        recipe: the recipe's name.
        overrides: all of them, the recipe's name among them.
        config: spelled out.
        subject: its model on the meta device.
        steps: of optimisation.
    """

    recipe: str
    overrides: tuple[str, ...]
    config: Config
    subject: Subject
    steps: int


def build(overrides: Sequence[str], cwd: Path) -> Built:
    """Compose, check what a run checks before it starts, and build on meta.

    Raises:
        UserError: the parts do not go together, or a study cannot count the model's cost.
    """
    composed = compose(None, overrides, cwd=cwd)
    with composed.told():
        settings = check_settings(composed.config)
        subject = subject_of(composed.config, vocabulary(composed.config).size)
    return Built(composed.recipe, tuple(overrides), composed.config, subject, steps_of(composed.config, settings, subject))


def steps_of(config: Config, settings: Config, subject: Subject) -> int:
    """UserError where only the data can tell how many there are."""
    said = settings.get("max_steps"), settings.get("max_tokens"), settings.get("fast_dev_run")
    if settings.get("max_epochs") is not None or not any(isinstance(n, (int, float)) and n > 0 for n in said):
        raise UserError("trainer.max_steps", "a study counts steps, and only the data would tell", "set trainer.max_steps=N")
    return total_steps(settings, 1, rows_of(config) * subject.context)
