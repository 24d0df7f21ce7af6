"""A signal that comes while the ranks agree is for the next agreement: none is lost. (Whole runs: tests/cli/test_train_and_after.py.)"""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest
import torch

from components.task import preemption
from components.task.preemption import EXIT_TRY_AGAIN, Preempted, Preemption


def test_a_signal_during_the_agreement_is_not_lost(monkeypatch):
    agreed, written = [], []
    strategy, epoch_loop = SimpleNamespace(root_device=torch.device("cpu")), SimpleNamespace()
    trainer = SimpleNamespace(world_size=2, global_step=0, strategy=strategy, fit_loop=SimpleNamespace(epoch_loop=epoch_loop))
    made = Preemption(SimpleNamespace(write=lambda trainer, name: written.append((trainer.global_step, name))))

    def all_reduce(flag, op):  # noqa: ARG001  the order of torch's arguments; no other rank is asked to stop
        agreed.append((trainer.global_step, int(flag)))
        if trainer.global_step == 20:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(preemption.dist, "all_reduce", all_reduce)

    def train():
        for trainer.global_step in range(1, 100):
            for _ in range(2):  # micro-batches of one step
                made.on_train_batch_end(trainer, None, None, None, 0)

    before = signal.getsignal(signal.SIGTERM)
    made.on_train_start(trainer, None)
    try:
        with pytest.raises(Preempted) as stopped:
            train()
    finally:
        made.teardown(trainer, None, "fit")
    assert stopped.value.code == EXIT_TRY_AGAIN
    assert agreed == [(10, 0), (20, 0), (30, 1)]
    assert written == [(30, "last.ckpt")]
    assert signal.getsignal(signal.SIGTERM) == before
