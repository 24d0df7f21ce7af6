"""What a task asks of whoever drives it: our run, anybody's ``lightning.Trainer``, Fabric, or a loop without either."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import BackboneFinetuning
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy
from torch import nn
from torch.distributed.tensor import DTensor

from components.core.config_types import part_name
from components.core.errors import UserError
from components.core.makers import make, part_values
from components.core.traits import turns_of
from components.corpus.steps import MicroBatch
from components.functional.quantised_tensor import Quantised
from components.parts.optimizer._spread import compute_once
from components.training.data_module import PackedDataModule, Resumable
from components.training.epochs import steps_of_run
from components.training.strategies import data_ranks, shards_weights


class Driven:
    """A LightningModule's questions to its trainer."""

    def begin_driven(self) -> None:
        self.total_steps = 0  # set by a run that counts its steps beforehand, and by who drives without a trainer
        self._factor: tuple[int, Callable[[int], float]] | None = None  # the schedule, and the length that it was told
        self._rescaled = False  # the learning rate was found after the optimizer had been made

    def configure_callbacks(self) -> list[Callback]:
        """Adds none. Lightning asks here before any callback acts, so what cannot be done here is refused here.

        Raises:
            UserError: a callback that asks for another kind of module.
        """
        if any(isinstance(c, BackboneFinetuning) for c in self.trainer.callbacks):  # type: ignore[attr-defined]  # Lightning sets it without declaring it
            raise UserError(
                "BackboneFinetuning",
                "it asks for a module `backbone`, and a model is made of parts",
                "choose what learns by tuning=..., or write a BaseFinetuning of your own",
            )
        return []

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """DDP asks for it: the frozen matrices in few bits, which it cannot send, and which every rank has made alike."""
        return [n for n, p in self.named_parameters() if isinstance(p, Quantised)]  # type: ignore[attr-defined]  # of the module

    def length(self) -> int:
        """Optimizer steps of the run, 0 where nobody knows: what is said in ``total_steps``, else by the trainer's limits."""
        trainer: Any = self._trainer  # type: ignore[attr-defined]
        if self.total_steps or trainer is None:
            return self.total_steps
        data = trainer.datamodule
        ours = isinstance(data, PackedDataModule)
        steps = steps_of_run(trainer, data.steps_per_epoch) if ours else trainer.estimated_stepping_batches
        return int(steps) if 0 < steps < math.inf else 0

    def factor(self, step: int) -> float:
        """The schedule's factor on the learning rate at a step."""
        if self._factor is None:
            self._factor = (length := self.length()), self.schedule_of(length)
        return self._factor[1](step)

    def schedule_of(self, steps: int) -> Callable[[int], float]:
        """The schedule of a run of so many steps, 0 where nobody knows.

        Raises:
            UserError: it needs the length, and there is none.
        """
        config = self.config["schedule"]  # type: ignore[attr-defined]
        try:
            return make(config, "schedule", total_steps=steps)
        except UserError as e:
            if steps:
                raise
            instead = "give the trainer max_steps or max_epochs, or set task.total_steps where there is no trainer"
            raise UserError(f"schedule/{part_name(config)}", "needs the length of the run, which has no end", instead) from e

    def step_of(self, item: MicroBatch) -> int | None:
        """The number of the optimizer step that the micro-batch is part of; None where nobody counts."""
        if self._trainer is not None:  # type: ignore[attr-defined]  # the LightningModule's own
            return int(self._trainer.global_step)  # type: ignore[attr-defined]  # likewise
        return None if item.samples is None else int(item.samples[0]) // self.batch_size  # type: ignore[attr-defined]  # the task's

    def lay_out(self, model: nn.Module) -> None:
        """Divide the model among the ranks where the strategy does so; under ddp have each step look for weights that it leaves out, where parts take turns.

        Raises:
            UserError: ddp was told not to look.
        """
        strategy: Any = self.trainer.strategy  # type: ignore[attr-defined]  # the LightningModule's own
        if shards_weights(strategy):
            strategy.shard(model)
        turns = turns_of(model)
        if isinstance(strategy, DDPStrategy) and turns and not strategy._ddp_kwargs.setdefault("find_unused_parameters", True):
            what = f"{type(turns[0]).__name__} computes with some of its weights in each step, and each rank would wait for the others"
            raise UserError("trainer.strategy.find_unused_parameters", what, "leave it out")

    def pieces(self, item: MicroBatch) -> int:
        """What the gradient will be divided by after this module has given its own: the micro-batches and ranks that share a step."""
        trainer, fabric = self._trainer, self._fabric  # type: ignore[attr-defined]
        if trainer is not None:
            return trainer.accumulate_grad_batches * data_ranks(trainer)[1]
        return 1 if fabric is None or item.whole else fabric.world_size

    def on_fit_start(self) -> None:
        if isinstance(self.trainer.strategy, DDPStrategy):  # type: ignore[attr-defined]
            for optimizer in self.trainer.optimizers:  # type: ignore[attr-defined]
                compute_once(optimizer)
        if not self.recorded:  # type: ignore[attr-defined]
            for logger in self.trainer.loggers:  # type: ignore[attr-defined]
                logger.log_hyperparams(self.config)  # type: ignore[attr-defined]

    def need_own_loader(self) -> None:
        """UserError if a loader of ours has been made for other steps than the trainer takes."""
        trainer: Any = self.trainer  # type: ignore[attr-defined]
        loader, there = trainer.train_dataloader, (*data_ranks(trainer), trainer.accumulate_grad_batches)
        if isinstance(loader, Resumable) and loader.place != there:
            _, ranks, accumulate = loader.place
            raise UserError(
                "train_dataloaders",
                f"the loader is for {ranks} devices x {accumulate} micro-batches a step, the trainer has {there[1]} x {there[2]}",
                "give the data module itself: trainer.fit(task, datamodule=data)",
            )

    def shard_placed(self, strategy: object) -> None:
        """Divide a model that is there already among the ranks, where the strategy does so."""
        model = self.placed  # type: ignore[attr-defined]
        if shards_weights(strategy) and not any(isinstance(p, DTensor) for p in model.parameters()):
            strategy.shard(model)

    def need_known_strategy(self, strategy: object) -> None:
        if isinstance(strategy, FSDPStrategy):
            raise UserError(
                "trainer.strategy", "fsdp is FSDP1, which is not supported", "strategy=components.strategies.FSDP2()"
            )

    def settle_rates(self) -> None:
        """Before the first step: what a search for a batch size or a learning rate has changed holds for the schedule too."""
        if self._factor is not None and self._factor[0] != self.length():
            self._factor = None
        if not self._rescaled:
            return
        self._rescaled = False
        for one in self.trainer.lr_scheduler_configs:  # type: ignore[attr-defined]
            schedule: Any = one.scheduler
            for group, base in zip(schedule.optimizer.param_groups, schedule.base_lrs):
                group["lr"] = base * self.factor(schedule.last_epoch)

    @property
    def lr(self) -> float:
        """The optimizer's learning rate, which Lightning's LearningRateFinder reads and sets."""
        return part_values("optimizer", self.config["optimizer"])["lr"]  # type: ignore[attr-defined]

    @lr.setter
    def lr(self, value: float) -> None:
        before, trainer = self.lr, self._trainer  # type: ignore[attr-defined]
        for one in trainer.lr_scheduler_configs if trainer is not None else ():
            one.scheduler.base_lrs = [base * value / before for base in one.scheduler.base_lrs]
            self._rescaled = True
        self.config = {**self.config, "optimizer": {**self.config["optimizer"], "lr": float(value)}}
