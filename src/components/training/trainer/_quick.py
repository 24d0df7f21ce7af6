"""Lightning's Trainer with short ways to what its loops ask for a hundred times in each step."""

from __future__ import annotations

from operator import attrgetter

from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import RunningStage

from components.training.trainer._epoch import QuickEpoch


class QuickTrainer(Trainer):
    """Answers as Lightning's does. A step of a small model is some thousand calls of Python, and Lightning's own were more than the model's.

    A property made of ``attrgetter`` runs no Python function; Lightning's chain of three does for each question.
    """

    strategy = property(attrgetter("_accelerator_connector.strategy"))  # pyright: ignore[reportIncompatibleMethodOverride]
    lightning_module = property(attrgetter("_accelerator_connector.strategy._lightning_module"))  # pyright: ignore[reportIncompatibleMethodOverride]
    # a stage is a member of the enumeration, whose `==` compares texts in lower case
    training = Trainer.training.getter(lambda self: self.state.stage is RunningStage.TRAINING)  # pyright: ignore[reportIncompatibleMethodOverride]

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]  # as Lightning takes them
        loop = self.fit_loop.epoch_loop
        self.fit_loop.epoch_loop = QuickEpoch(self, min_steps=loop.min_steps, max_steps=loop.max_steps)
