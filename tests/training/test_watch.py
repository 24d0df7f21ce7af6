"""What ends a rank whose main thread waits for another: one line, its folder completed, no process left. (Whole runs: tests/training/test_ranks.py.)"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import LightningEnvironment

from components.training import ranks
from components.training import watch as watching
from components.training.experiment import restored
from components.training.missing import RankLost
from components.training.watch import Watch


@pytest.fixture
def child():
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def of_ranks(*children) -> Watch:
    watch = Watch()
    watch.children = list(children)
    return watch


def test_a_port_that_another_process_has_is_no_lost_rank(monkeypatch):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(dist.DistNetworkError) as failed:
            dist.TCPStore("127.0.0.1", port, is_master=True)
        said = of_ranks().explained(failed.value)
    assert str(said) == f"MASTER_PORT: another process has port {port}; set another; on one machine none needs to be set"
    assert said.exit_code == 2


def test_ranks_of_one_machine_meet_at_a_store_that_is_open_before_they_start(monkeypatch):
    monkeypatch.delenv("MASTER_PORT", raising=False)
    here = LightningEnvironment()
    with restored():
        store = ranks.meeting_place(here)
        assert store.port == here.main_port
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("", store.port))
        first = dist.TCPStore(
            "127.0.0.1", here.main_port, 1, is_master=True, multi_tenant=True
        )  # as the first rank's group does
        first.set("met", "here")
        assert store.get("met") == b"here"
        assert ranks.meeting_place(LightningEnvironment()) is None, "a port that is given is taken"


def test_ranks_have_longer_to_start_than_to_answer(tmp_path):
    class Strategy:
        def setup_environment(self):
            self.waited = self._timeout
            dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1, timeout=self._timeout)

    strategy = Strategy()
    ranks.start_patiently(strategy, 7.0, lambda: None)
    strategy.setup_environment()
    try:
        group = dist.distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
        assert (strategy.waited.total_seconds(), strategy._timeout.total_seconds()) == (ranks.STARTING, 7.0)
        assert group.options._timeout.total_seconds() == 7.0
    finally:
        dist.destroy_process_group()


def test_an_error_of_a_collective_names_the_rank_behind_it(child, tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "EVERY", 0.1)
    watch = of_ranks(child)
    assert watch.explained(RuntimeError("shapes do not fit")) is None, "no error of a collective"
    silent = watch.explained(RuntimeError("[gloo/pair.cc] Timed out waiting 1800000ms for recv operation to complete"))
    assert f"rank 1 (process {child.pid}): does not answer" in str(silent)
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    assert "is stopped and does not answer; start the run again" in str(watch.explained(RuntimeError("gloo: Timed out")))
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    watch.folder = tmp_path
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    lost = watch.explained(RuntimeError("gloo: Connection closed by peer"))
    assert (
        str(lost) == f"rank 1 (process {child.pid}): was ended by SIGKILL; resume={tmp_path} goes on from its last checkpoint"
    )
    assert isinstance(lost, RankLost)
    assert lost.exit_code == 1


def test_the_rank_that_was_killed_is_named_before_those_that_gave_up():
    ended = [
        subprocess.Popen([sys.executable, "-c", code]) for code in ("exit(1)", "exit(0)", "import os; os.kill(os.getpid(), 9)")
    ]
    for process in ended:
        process.wait()
    assert of_ranks(*ended).lost() == (f"rank 3 (process {ended[2].pid})", "was ended by SIGKILL")
    assert of_ranks(*ended[:2]).lost() == (f"rank 1 (process {ended[0].pid})", "has ended with code 1")
    assert of_ranks(ended[1]).lost() is None, "it has done its work"


def test_ranks_that_do_not_leave_are_killed(child):
    began = time.monotonic()
    of_ranks(child).end_children(within=0.2)
    assert child.returncode == -signal.SIGKILL
    assert time.monotonic() - began < 30, "not until it ends by itself"


# the second lock of a mutex waits in C and begins again after a signal, as a collective does: no handler of Python runs meanwhile
WAITING = """
import ctypes, os, signal, subprocess, sys
from components.training import watch as watching
watching.EVERY = watching.GRACE = 0.2
signal.signal(signal.SIGTERM, lambda *_: print("handled", flush=True))
watch = watching.Watch(int(sys.argv[1]) or None)
watch.patience = 0.5
watch.children = [subprocess.Popen(["sleep", "60"]) for _ in range(int(sys.argv[2]))]
watch.complete = lambda: print("completed", flush=True)
watch.start()
print(*(p.pid for p in watch.children), flush=True)
mutex = ctypes.create_string_buffer(64)
for _ in range(2):
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
"""


def waiting(parent: int, children: int) -> tuple[subprocess.Popen, list[int]]:
    """A rank that waits for ever, and the processes that it has started."""
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(parent), str(children)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "LOCAL_RANK": "3"},
    )
    assert process.stdout is not None
    return process, [int(word) for word in process.stdout.readline().split()]


def until_it_waits(pid: int) -> None:
    """Until the main thread sleeps without waking up: one that waits for the interpreter's lock wakes every few milliseconds."""
    looks: list[str] = []
    until = time.monotonic() + 60
    while len(looks) < 2 or looks[-1] != looks[-2] or "State:\tS" not in looks[-1]:
        assert time.monotonic() < until, looks[-1]
        time.sleep(0.1)
        lines = Path(f"/proc/{pid}/task/{pid}/status").read_text().splitlines()
        looks.append("\n".join(line for line in lines if line.startswith(("State", "voluntary"))))


def gone(pid: int) -> bool:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_sigterm_ends_a_rank_that_waits_for_ever():
    process, (other,) = waiting(0, 1)
    until_it_waits(process.pid)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[0].splitlines()
    assert process.returncode == 143
    assert said[0].startswith("error: SIGTERM: nothing has moved for 0.5 s in ")
    assert said[1:] == ["completed"], "no handler ran"
    assert gone(other)


def test_a_rank_that_was_killed_ends_the_one_that_started_it_and_all_others():
    process, (one, other) = waiting(0, 2)
    os.kill(other, signal.SIGKILL)
    assert process.communicate(timeout=120)[0].splitlines() == [
        f"error: rank 2 (process {other}): was ended by SIGKILL; start the run again",
        "completed",
    ]
    assert process.returncode == 1
    assert gone(one)


@pytest.mark.parametrize("code", [75, 1])
def test_a_rank_that_was_asked_to_stop_gives_the_first_time_to_complete_the_folder(code, monkeypatch):
    monkeypatch.setattr(watching, "EVERY", 0.05)
    monkeypatch.setattr(watching, "GRACE", 0.1)
    came: list[float] = []
    monkeypatch.setattr(Watch, "_end", lambda self, where, what, _: came.append(time.monotonic()))  # noqa: ARG005
    watch = of_ranks(subprocess.Popen([sys.executable, "-c", f"exit({code})"]))
    watch.patience = 0.5 if code == 75 else 120.0
    watch.children[0].wait()
    began = time.monotonic()
    watch.start()
    while not came and time.monotonic() < began + 60:
        time.sleep(0.01)
    watch.stop()
    assert came, "long before its patience ends"
    assert came[0] - began >= (0.5 if code == 75 else 0.1)


def test_a_rank_does_not_outlive_the_one_that_started_it():
    process, _ = waiting(1, 0)  # no process of ours is a child of process 1
    assert process.communicate(timeout=120)[0].splitlines() == [
        "error: rank 3: the first rank (process 1): has gone; start the run again",
        "completed",
    ]
    assert process.returncode == 1


def test_sigterm_is_noticed_and_its_handler_runs(monkeypatch):
    monkeypatch.setattr(watching, "EVERY", 0.05)
    came, watch = [], Watch()
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(1))
    watch.start()
    try:
        signal.raise_signal(signal.SIGTERM)
        until = time.monotonic() + 60
        while watch._asked is None and time.monotonic() < until:
            time.sleep(0.01)
        assert watch._asked is not None
        assert watch.is_alive()
    finally:
        watch.stop()
        signal.signal(signal.SIGTERM, before)
    assert came == [1]
    assert signal.set_wakeup_fd(-1) == -1, "as before"


@pytest.mark.parametrize("how", ["it works", "it makes steps"])
def test_a_process_that_moves_is_not_ended_by_sigterm(monkeypatch, how):
    """It saves after its step, however long that takes. By a clock of the test's own: seconds of a busy machine are not the process's."""
    clock = SimpleNamespace(monotonic=lambda: now, process_time=lambda: worked)
    monkeypatch.setattr(watching, "time", clock)
    monkeypatch.setattr(Watch, "_end", lambda *_: ended.append(now))
    now = worked = step = 0.0
    ended: list[float] = []
    watch = Watch()
    watch.patience, watch._asked, watch.progress = 3.0, 0.0, lambda: step
    watch._main = threading.Thread()  # one that stands at the same place
    while now < 39:
        now += 1
        worked, step = (worked + 0.25, step) if how == "it works" else (worked + 0.15, step + 1)
        watch._look()
    assert not ended
    while not ended:
        now, worked = now + 1, worked + 0.15  # what waiting takes
        watch._look()
    assert ended == [39 + 3]
