"""A run's model before its data are read: what does not fit together is refused before hours of tokenising, and what was built is taken afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from components.core.config_types import Config
from components.core.errors import UserError
from components.runs.loading import model_of
from components.runs.task_module import TaskModule
from components.runs.vocabulary import vocabulary
from components.training.tuning import freeze

OTHER = 64  # times as many ids: what a model of so many refuses with the same words is no matter of their number


@dataclass(frozen=True)
class Foreseen:
    """A model on the meta device, for so many ids."""

    model: nn.Module
    vocab_size: int

    def of(self, module: TaskModule) -> nn.Module:
        """The model of the task: this one, where the tokenizer has come to as many ids."""
        return self.model if module.vocab_size == self.vocab_size else module.new_model()


def foresee(config: Config) -> Foreseen | None:
    """The model of a config as it will be, as far as that can be said before its tokenizer is trained; None where it cannot.

    Raises:
        UserError: its parts do not fit together, however many ids there will be.
    """
    try:
        found = vocabulary(config)
    except UserError:  # of the tokenizer or of its files, which are told of where they are read
        return None
    try:
        model = model_of(config, found.size)
        freeze(model, config)
    except UserError as e:
        if not found.note or str(e) == _fault(config, OTHER * found.size):
            raise
        return None
    return Foreseen(model, found.size)


def _fault(config: Config, size: int) -> str:
    """What is wrong with a model of so many ids; empty where nothing is."""
    try:
        freeze(model_of(config, size), config)
    except UserError as e:
        return str(e)
    return ""
