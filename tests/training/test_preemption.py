"""What signals ask of a run: when ranks look, what is lost (nothing), what the process exits with. (Every step: test_stopped_anywhere.py.)"""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest
import torch

from components.training import preemption
from components.training.preemption import EXIT_TRY_AGAIN, Preempted, Preemption
from components.training.signals import INTERRUPT, REQUEUE, STOP, Signals


@pytest.fixture
def two_ranks(monkeypatch):
    """A trainer of two ranks, of which the other one is never asked; ``agreed``: (step, asked) of each agreement; steps of ``each`` seconds."""
    agreed, written, clock = [], [], SimpleNamespace(now=0.0, each=0.5)
    trainer = SimpleNamespace(
        world_size=2,
        global_step=0,
        state=SimpleNamespace(fn="fit"),
        sanity_checking=False,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace()),
    )
    monkeypatch.setattr(preemption.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(preemption, "validation_due", lambda _: False)
    keeper = SimpleNamespace(write=lambda trainer, due, wait: written.append((trainer.global_step, due, wait)))

    def all_reduce(told, op):  # noqa: ARG001  the order of torch's arguments
        agreed.append((trainer.global_step, int(told[0])))
        if trainer.global_step == 9:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(preemption.dist, "all_reduce", all_reduce)
    signals = Signals()
    made = Preemption(keeper, signals)
    with signals.heard():
        made.on_train_start(trainer, None)
        yield SimpleNamespace(made=made, trainer=trainer, agreed=agreed, written=written, clock=clock)


def train(ranks):
    for ranks.trainer.global_step in range(1, 200):
        ranks.clock.now += ranks.clock.each
        for _ in range(2):  # micro-batches of one step
            ranks.made.on_train_batch_end(ranks.trainer, None, None, None, 0)


def test_ranks_look_every_two_seconds_and_no_signal_is_lost(two_ranks):
    """One that comes while they agree is for the next agreement."""
    with pytest.raises(Preempted) as stopped:
        train(two_ranks)
    assert stopped.value.code == EXIT_TRY_AGAIN
    assert two_ranks.agreed == [(1, 0), (5, 0), (9, 0), (13, STOP)]
    assert two_ranks.written == [(13, False, True)]


def test_slow_steps_are_looked_at_one_by_one_and_fast_ones_seldom(two_ranks):
    two_ranks.clock.each = 20.0
    with pytest.raises(Preempted):
        train(two_ranks)
    assert [step for step, _ in two_ranks.agreed] == [*range(1, 11)]
    two_ranks.agreed.clear()
    two_ranks.made.signals.asked, two_ranks.clock.each = 0, 0.001
    two_ranks.made.on_train_start(two_ranks.trainer, None)
    train(two_ranks)
    assert [step for step, _ in two_ranks.agreed] == [1, 101]


def test_within_a_long_validation_they_look_too(two_ranks):
    two_ranks.made.signals.asked = STOP
    two_ranks.made.on_validation_start(two_ranks.trainer, None)
    with pytest.raises(Preempted):
        two_ranks.made.on_validation_batch_end(two_ranks.trainer, None, None, None, 0)
    assert two_ranks.written == [(0, True, True)]


def test_handlers_come_back_and_what_each_signal_means():
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    signals = Signals(requeue=True, aloud=False)
    with signals.heard():
        with pytest.raises(Preempted):  # nothing is trained yet, so there is nothing to wait for
            signal.raise_signal(signal.SIGTERM)
        signals.asked, signals.phase = 0, "training"
        for number, asked in (
            (signal.SIGINT, INTERRUPT),
            (signal.SIGINT, INTERRUPT),
            (signal.SIGTERM, STOP),
            (signal.SIGUSR1, REQUEUE),
        ):
            os.kill(os.getpid(), number)
            assert signals.asked == asked
        with pytest.raises(KeyboardInterrupt):  # the third Ctrl-C
            signal.raise_signal(signal.SIGINT)
        signals.phase = "after"
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # it is ending already
            os.kill(os.getpid(), number)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


def test_outside_of_slurm_sigusr1_is_somebody_elses():
    before = signal.getsignal(signal.SIGUSR1)
    with Signals().heard():
        assert signal.getsignal(signal.SIGUSR1) == before
