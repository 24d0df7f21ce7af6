"""Stopping a run: all ranks save and stop after the same step, or within the same validation.

The signal is only noted (``signals.py``). Ranks agree on it between steps, about every two seconds. They all derive the number of steps between
two agreements from the same duration of a step, so no rank waits alone.
"""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

import time
from typing import Protocol

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer

from components.training.signals import EXIT_TRY_AGAIN, NONE, STOP, Preempted, Signals

__all__ = ["EXIT_TRY_AGAIN", "Preempted", "Preemption"]

SECONDS = 2.0
MOST = 100  # steps between two agreements, in case the next ones take longer than those that were measured


class Keeper(Protocol):
    """What saves."""

    def write(self, trainer: Trainer, *, due: bool = False, wait: bool = False) -> None: ...


class Preemption(Callback):
    """The last of the callbacks, so that whatever it saves has counted everything.

    Args:
        keeper: what saves.
        signals: the signals that this process got.
    """

    def __init__(self, keeper: Keeper, signals: Signals) -> None:
        self.keeper, self.signals = keeper, signals
        self._step = -1
        self._units = self._left = 1  # steps or batches between two agreements, and until the next
        self._since = 0.0

    @property
    def asked(self) -> bool:
        """Whether this process was asked to stop. It can also be set."""
        return bool(self.signals.asked)

    @asked.setter
    def asked(self, value: bool) -> None:
        self.signals.asked = max(self.signals.asked, STOP) if value else NONE

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.listen()
        self.signals.phase = "training"
        # Lightning would broadcast the flag of its handler, which is not installed, and read it back in each batch
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = nothing
        self._step = trainer.global_step
        self._measure_anew()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if trainer.global_step != self._step:  # else gradients are still being accumulated
            self._step = trainer.global_step
            if asked := self._agreed(trainer):
                self.keeper.write(trainer, due=validation_due(trainer), wait=True)
                raise Preempted(asked)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._measure_anew()

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: object, **named: object) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and (asked := self._agreed(trainer)):
            self.keeper.write(trainer, due=True, wait=True)
            raise Preempted(asked)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._measure_anew()

    def _measure_anew(self) -> None:
        """Steps of validation and of training differ in duration, so the first one is measured and agreed on."""
        self._units = self._left = 1
        self._since = time.perf_counter()

    def _agreed(self, trainer: Trainer) -> int:
        """The strongest request of any rank. All ranks call this equally often."""
        if trainer.world_size == 1:
            return self.signals.asked
        self._left -= 1
        if self._left:
            return 0
        each = (time.perf_counter() - self._since) / self._units
        told = torch.tensor([float(self.signals.asked), each], dtype=torch.float32, device=trainer.strategy.root_device)
        dist.all_reduce(told, dist.ReduceOp.MAX)
        asked, each = told.tolist()  # a signal that comes meanwhile counts in the next agreement
        self._units = self._left = max(1, min(MOST, int(SECONDS / max(each, 1e-9))))
        self._since = time.perf_counter()
        return int(asked)


def validation_due(trainer: Trainer) -> bool:
    """Whether Lightning would validate after the step that has just been taken."""
    loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    return fetcher is not None and bool(loop._should_check_val_fx(fetcher)) and sum(loop.val_loop.max_batches) > 0


def nothing() -> None:
    """Instead of Lightning's broadcast, and of its signal handlers."""
