"""Lightning's Trainer with short ways to what its loops ask for a hundred times in each step."""

from __future__ import annotations

from collections import OrderedDict
from operator import attrgetter

from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import RunningStage


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
        # it reads the signature of `training_step` anew for each batch, to see whether that takes `batch_idx`: every task's does
        self.fit_loop.epoch_loop._build_kwargs = with_index


def with_index(kwargs: OrderedDict[str, object], batch: object, batch_idx: int) -> OrderedDict[str, object]:
    kwargs.update(batch=batch, batch_idx=batch_idx)
    return kwargs
