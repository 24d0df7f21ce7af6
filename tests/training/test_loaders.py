"""Processes that read ahead are started once, give what one process gives, and leave nothing behind."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from components.core.errors import UserError
from components.core.sockets import Batch
from components.corpus.order import DEALT_UP_TO, EpochOrder
from components.training import reading
from components.training.building import quiet_lightning
from components.training.data_module import PackedDataModule

pytestmark = pytest.mark.usefixtures("warm_processes")

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}


class Blocks:
    """Rows of their own number; whoever reads one notes it."""

    tokens_per_row = 1

    def __init__(self, n_blocks, notes):
        self.n_blocks, self.notes, self.order = n_blocks, notes, EpochOrder(n_blocks, None)

    def batch(self, epoch, indices):  # noqa: ARG002
        with Path(self.notes).open("a") as f:
            f.write(f"{os.getpid()}\n")
        ids = torch.tensor([[i] for i in indices])
        return Batch(ids, ids)

    def pids(self):
        return [int(line) for line in Path(self.notes).read_text().split()]


class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.read, self.fail_at = [], None

    def training_step(self, item, batch_idx):  # noqa: ARG002
        if self.global_step == self.fail_at:
            raise ValueError("a step that fails")
        self.read.append(("train", item.batch.ids.flatten().tolist()))
        return self.weight.sum()

    def validation_step(self, item, batch_idx):  # noqa: ARG002
        self.read.append(("validation", item.batch.ids.flatten().tolist()))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def data(tmp_path, workers):
    train, validation = Blocks(16, tmp_path / "train"), Blocks(10, tmp_path / "validation")
    return PackedDataModule(train, validation, validation, batch_size=2, workers=workers)


def trainer(**options):
    quiet_lightning()
    return Trainer(
        **{"accelerator": "cpu", "max_steps": 6, "val_check_interval": 2, "check_val_every_n_epoch": None, "logger": False},
        **{"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False},
        **{"num_sanity_val_steps": 1, "use_distributed_sampler": False},
        **options,
    )


def alive(pid):
    """A process that runs; one that only waits for its parent's look has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def open_files():
    return len(os.listdir("/proc/self/fd"))


def test_the_same_readers_read_every_validation_and_end_with_the_run(tmp_path):
    seen = {}
    before = set(threading.enumerate())  # what other tests of this process have left
    for workers in (0, 1):
        (tmp_path / str(workers)).mkdir()
        module, loaders = Module(), data(tmp_path / str(workers), workers)
        trainer(limit_val_batches=3).fit(module, loaders)
        seen[workers] = list(module.read)
        if workers:
            held = open_files()
            trainer().validate(module, loaders, verbose=False)  # a second run, with readers of its own
    assert seen[0] == seen[1]
    assert [n for what, n in seen[1] if what == "validation"] == [[0, 1], *[[0, 1], [2, 3], [4, 5]] * 3]
    train, validation = set(loaders.train.pids()), list(dict.fromkeys(loaders.validation.pids()))
    assert len(train) == 1
    assert len(validation) == 2, "one reader for the sanity check and three validations, one for the run after"
    assert os.getpid() not in {*train, *validation}
    assert not multiprocessing.active_children()
    assert not any(map(alive, {*train, *validation}))
    # a thread that was told to end does so, and closes its pipe, when the machine lets it
    deadline = time.monotonic() + 60
    while (
        feeders := [t.name for t in set(threading.enumerate()) - before if t.name.startswith("QueueFeeder")]
    ) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not feeders
    while open_files() > held and time.monotonic() < deadline:
        gc.collect()  # what earlier runs of this process have left in circles
        time.sleep(0.1)
    assert open_files() <= held


def test_a_run_that_fails_takes_its_readers_with_it(tmp_path):
    module, loaders = Module(), data(tmp_path, 1)
    module.fail_at = 3
    with pytest.raises(ValueError, match="a step that fails"):
        trainer().fit(module, loaders)
    assert len(set(loaders.validation.pids())) == 1
    assert not multiprocessing.active_children()
    assert not any(map(alive, loaders.train.pids() + loaders.validation.pids()))


def test_loaders_without_a_trainer_read_what_one_process_would(tmp_path):
    loaders = data(tmp_path, 0)
    assert [item.batch.ids.flatten().tolist() for item in loaders.train_dataloader()] == [[i, i + 1] for i in range(0, 16, 2)]
    assert [item.batch.ids.flatten().tolist() for item in loaders.val_dataloader()][-1] == [8, 9]
    assert len(loaders.test_dataloader()) == 5
    assert loaders.state_dict()["samples"] == 0


STRUCK = """
import faulthandler, multiprocessing, os, signal, sys, time
faulthandler.dump_traceback_later(250, exit=True)
from pathlib import Path
from components.core.errors import UserError
from components.training import reading
from test_loaders import data
reading.EVERY = 0.02
for how in (signal.Signals[sys.argv[2]],):
    loaders = data(Path(sys.argv[1]), 1)
    read = iter(loaders.train_dataloader())
    next(read)
    (reader,) = multiprocessing.active_children()
    try:
        os.kill(reader.pid, how)
        for _ in range(8):
            next(read)
        time.sleep(5)
    except UserError as e:
        time.sleep(0.2)  # nothing is told any more while the error is handled
        print(e)
    except RuntimeError as e:
        print(reading.gone() if reading.tells_of_a_dead_reader(e) else e)
"""


@pytest.mark.parametrize("how", ["SIGSTOP", "SIGKILL"])
def test_a_reader_that_stands_still_or_died_is_one_line(how, tmp_path):
    """In a process of its own: torch tells of a death wherever the process is just then, which may be in the test's own end."""
    command = [sys.executable, "-c", STRUCK, str(tmp_path), how]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=300, text=True)
    said = [line.startswith("task.num_workers: a process that reads ahead is gone") for line in done.stdout.splitlines()]
    assert said == [True], done.stderr
    assert not [pid for pid in map(int, (tmp_path / "train").read_text().split()) if alive(pid)]


def test_a_reader_that_died_with_the_lock_of_the_end_holds_nobody_up(tmp_path):
    """It asks before each batch whether it is to end; killed just then, the lock is never given back."""
    loaders = data(tmp_path, 1)
    read = iter(loaders.train_dataloader())
    next(read)
    read.read._workers_done_event.event._cond.acquire()
    start = time.monotonic()
    read.read._shutdown_workers()
    assert (
        time.monotonic() - start < 60
    )  # the reader is asked to end, waited for, and then terminated by torch, five seconds each
    assert read.read._workers_done_event.is_set()


ENDING = """
import os, sys
from pathlib import Path
from components.training import reading
from test_loaders import data
loaders = data(Path(sys.argv[1]), 3)
read = iter(loaders.train_dataloader())
next(read)
"""


def test_readers_that_are_killed_at_the_end_do_not_keep_one_another_alive(tmp_path):
    """Torch raises at the death of the first; the others ignore the signal that multiprocessing sends, and would be waited for."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ENDING, str(tmp_path)],
        capture_output=True,
        env=ENVIRONMENT,
        timeout=120,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not [pid for pid in map(int, (tmp_path / "train").read_text().split()) if alive(pid)]


RAISING = (
    ENDING
    + """
import atexit
atexit.unregister(reading.end_all)  # as if torch had raised in its first line
"""
)


def test_readers_end_with_a_process_whose_own_clearing_up_has_failed(tmp_path):
    """Then multiprocessing ends them: it asks them by a signal, and waits for them for ever. Takes 10 s where a reader looks for its parent first."""
    command = [sys.executable, "-W", "ignore", "-c", RAISING, str(tmp_path)]
    subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=120, text=True)
    until = time.monotonic() + 120
    pids = [int(line) for line in (tmp_path / "train").read_text().split()]
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [pid for pid in pids if alive(pid)]


def test_nothing_of_ours_works_while_readers_are_forked(tmp_path, monkeypatch):
    """A thread that holds a lock at that moment holds it for ever in the reader."""
    looked, forked = threading.Event(), threading.Event()
    monkeypatch.setattr(reading, "EVERY", 0.0)
    monkeypatch.setattr(reading, "state_of", lambda _: looked.set() or ("" if forked.is_set() else "S"))
    watching = threading.Thread(target=reading.give_up_stopped, args=([1],))
    seen = []
    begin = reading._MultiProcessingDataLoaderIter.__init__

    def forking(self, loader):
        looked.clear()
        begin(self, loader)
        time.sleep(0.1)
        seen.append(looked.is_set())

    monkeypatch.setattr(reading._MultiProcessingDataLoaderIter, "__init__", forking)
    watching.start()
    try:
        next(iter(data(tmp_path, 1).train_dataloader()))
        assert seen == [False]
        assert looked.wait(60), "and goes on afterwards"
    finally:
        forked.set()
        watching.join(60)
    assert not watching.is_alive()


@pytest.mark.parametrize("told", [False, True])
def test_a_death_is_heard_of_where_it_is_met(told):
    """A hand-over breaks a moment before the system reports the death, and torch raises wherever the process is at that report."""
    looks = []

    class Dying:
        def is_alive(self):
            looks.append(None)
            if told and len(looks) == 3:
                raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")
            return len(looks) < 3

    class Broken:
        _workers = (Dying(),)

        def __next__(self):
            raise ConnectionResetError

    with pytest.raises(UserError, match="a process that reads ahead is gone"):
        next(reading.Reading(Broken()))
    assert len(looks) == 3


def test_what_the_data_raise_in_a_reader_is_theirs(tmp_path):
    loaders = data(tmp_path, 1)

    def batch(epoch, indices):  # noqa: ARG001
        raise OSError("of the data")

    loaders.train.batch = batch
    with pytest.raises(OSError, match="of the data"):
        next(iter(loaders.train_dataloader()))


PARENT = """
import sys, time
from test_loaders import data
from pathlib import Path
loaders = data(Path(sys.argv[1]), 2)
read = [iter(loaders.train_dataloader()), iter(loaders.val_dataloader())]
for r in read:
    next(r)
print("reading", flush=True)
time.sleep(60)
"""


def test_readers_end_with_a_parent_that_is_killed(tmp_path):
    """Takes five seconds: so often a reader looks whether its parent is there."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, env=ENVIRONMENT, start_new_session=True
    )
    readers = set()
    try:
        assert parent.stdout.readline() == b"reading\n"
        until = time.monotonic() + 120
        while len(readers) < 4:  # the second one of each reads when it likes
            assert time.monotonic() < until
            time.sleep(0.05)
            readers = {int(line) for name in ("train", "validation") for line in (tmp_path / name).read_text().split()}
        parent.kill()
        parent.wait()
        until = time.monotonic() + 120
        while any(map(alive, readers)) and time.monotonic() < until:
            time.sleep(0.1)
        assert not [pid for pid in readers if alive(pid)]
    finally:
        os.killpg(parent.pid, signal.SIGKILL) if any(map(alive, readers)) else None
        parent.stdout.close()


def test_a_run_goes_on_with_the_order_that_it_began_with(tmp_path):
    """Runs of before orders were computed have dealt theirs, whatever their length, and wrote nothing of it."""
    before, after = data(tmp_path, 0), data(tmp_path, 0)
    for module in (before, after):
        module.train.order = EpochOrder(DEALT_UP_TO + 1, 0)
        assert module.train.order.how == "computed"
    state = before.state_dict()
    after.load_state_dict(state)
    assert after.train.order.how == state["order"] == "computed"
    del state["order"]
    after.load_state_dict(state)
    assert after.train.order.how == "dealt"
