"""SIGTERM: all ranks stop after the same step, save, and the process exits with 75 (try again).

Lightning's own handler talks to the other ranks from inside the signal handler, which deadlocks when all of them get the signal, as
SLURM, Kubernetes and torchrun do (Lightning#20806).
"""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

import signal
import threading
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, Trainer

EXIT_TRY_AGAIN = 75  # EX_TEMPFAIL


class Preempted(SystemExit):
    """Saved on SIGTERM; ``resume=`` goes on from there."""

    def __init__(self) -> None:
        super().__init__(EXIT_TRY_AGAIN)


class Preemption(Callback):
    """Only a flag is set in the handler; ranks agree on it between steps.

    Args:
        checkpoints: what saves.
        every: optimizer steps between agreements where there are several ranks.
    """

    def __init__(self, checkpoints: Any, every: int = 10) -> None:
        self.checkpoints, self.every = checkpoints, every
        self.asked = False
        self._step = -1
        self._before: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)
        # what reads the flag of Lightning's handler, which we have replaced, costs a broadcast and a read-back each batch
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing
        self._step = trainer.global_step

    def _ask(self, number: int, frame: Any) -> None:
        del number, frame
        self.asked = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        if step == self._step:
            return
        self._step = step
        stop = self.asked
        if trainer.world_size > 1:
            if step % self.every:
                return
            flag = torch.tensor(int(self.asked), device=trainer.strategy.root_device)
            dist.all_reduce(flag, dist.ReduceOp.MAX)
            stop = bool(flag.item())  # `asked` is the handler's alone: a signal that comes meanwhile is for the next agreement
        if stop:
            self.checkpoints.write(trainer, "last.ckpt")
            raise Preempted

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None


def _nothing() -> None:
    """Instead of Lightning's broadcast."""
