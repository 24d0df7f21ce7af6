"""The groups of a run that hold settings instead of one part of the model or the data: trainer, logger, callbacks and paths.

What stands in them are options of parts too: here is of which. A recipe's or a user's file may stand for a whole group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Group:
    """How the keys of a group are read.

    Args:
        kind: of the parts whose options stand in the group; none where they are values of the run itself.
        part: the one part whose options they are.
        chosen: a part's name chooses the whole group, ``logger=wandb``.
        many: each key is a part's name, with its options below, ``callbacks.early_stopping.patience=3``.
        refused: {key that is not taken: what does it instead}.
    """

    kind: str = ""
    part: str = ""
    chosen: bool = False
    many: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)


# arguments of Lightning's Trainer that a run does not take
NOT_OURS = {
    "use_distributed_sampler": "the order of the data is the library's own, so that it does not depend on devices",
    "overfit_batches": "give a small corpus, which a model that learns fits in the same way: data=text data.path=few.txt",
    "reload_dataloaders_every_n_epochs": "the loaders do not change between epochs",
    "plugins": "they are objects, which a config cannot hold: trainer.precision and trainer.strategy choose ours",
    "callbacks": "use the group callbacks",
    "logger": "use the group logger",
    "default_root_dir": "use paths.runs",
    "check_val_every_n_epoch": "validations are counted in optimizer steps: use task.validation_every",
    "limit_test_batches": "training does not look at the test split: components evaluate RUN --split test does, at all of it",
    "limit_predict_batches": "nothing is predicted while training: components generate RUN",
    "enable_autolog_hparams": "loggers get the whole config as it is",
    "model_registry": "use logger=wandb logger.checkpoint=true",
    "barebones": "a run without figures and checkpoints leaves nothing",
}
GROUPS = {
    "trainer": Group("trainer", part="lightning", refused=NOT_OURS),
    "logger": Group("logger", chosen=True),
    "callbacks": Group("callback", many=True),
    "paths": Group(),
}
