"""What goes wrong on one rank in tests: a callback that the ranks of rank_server.py register."""

# ruff: noqa: ARG002  hooks
from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
from pathlib import Path

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer

import components

ROOM = 40_000  # bytes of a file on the full disk: enough for tables and words, not for a checkpoint


@components.register("callback", "fault")
class Fault(Callback):
    """At the beginning of step ``at`` on rank ``rank``, ``how`` happens.

    Args:
        how: stop (SIGSTOP), loop (for ever), alone (waits for what the others never send), kill (SIGKILL), exit (``os._exit``), full (no room
            for a checkpoint), blocked (the folder of checkpoints is away, and a file in its place), vanished (text and cache are removed), reader (the
            processes that read ahead are killed).
        rank: where.
        at: optimizer steps that were taken before.
    """

    def __init__(self, *, how: str, rank: int = 0, at: int = 7) -> None:
        super().__init__()
        self.how, self.rank, self.at = how, rank, at

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        if trainer.global_step != self.at or trainer.global_rank != self.rank:
            return
        if self.how == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.how == "loop":
            while True:
                pass
        elif self.how == "alone":
            dist.recv(torch.zeros(1), src=1 - self.rank)  # nothing is ever sent
        elif self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.how == "exit":
            os._exit(3)
        elif self.how == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))
        elif self.how == "blocked":
            (folder,) = Path("runs").glob("*/*/checkpoints")
            folder.rename("moved")
            folder.touch()
        elif self.how == "vanished":
            os.unlink("text.txt")
            shutil.rmtree("cache")
        elif self.how == "reader":
            for reader in multiprocessing.active_children():
                reader.kill()
