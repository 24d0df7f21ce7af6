"""While others want the cores an idle team makes OpenMP's threads sleep; it goes when they go, and no result depends on it."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType

import pytest

from components.core import company


@pytest.fixture(autouse=True)
def torch_is_there(monkeypatch):
    """Also in a process of tests that has not loaded it."""
    monkeypatch.setitem(sys.modules, "torch", sys.modules.get("torch", ModuleType("torch")))


@pytest.fixture
def machine(monkeypatch):
    """A watcher of two threads on two cores, whose looks are told what the clock, the process and the cores say."""
    monkeypatch.setattr(company, "IdleTeam", Team)
    watcher = company.Watcher(2, {0, 1})
    watcher.last = (0.0, 0.0, 0.0)
    at = [0.0, 0.0, 0.0]

    def second(mine: float, others: float):
        at[:] = at[0] + 1, at[1] + mine, at[2] + mine + others
        monkeypatch.setattr(watcher, "_now", lambda: tuple(at))
        watcher.look()
        return watcher.team

    return second


class Team:
    ended = False

    def end(self):
        self.ended = True


def test_it_comes_and_goes_with_the_others(machine):
    assert machine(1.9, 0.05) is None
    team = machine(1.2, 0.7)
    assert team is not None, "somebody takes most of a core"
    assert machine(1.2, 0.2) is team, "between the two bounds nothing changes"
    assert not team.ended
    assert machine(1.9, 0.05) is None
    assert team.ended


def test_a_command_that_has_no_torch_does_not_load_it(machine, monkeypatch):
    with monkeypatch.context() as m:
        m.delitem(sys.modules, "torch")
        assert machine(1.0, 1.0) is None
    assert machine(1.0, 1.0) is not None, "once it is there"


def test_fewer_threads_than_cores_leave_room(monkeypatch):
    monkeypatch.setattr(company, "IdleTeam", Team)
    watcher = company.Watcher(2, {0, 1, 2, 3})
    watcher.last = (0.0, 0.0, 0.0)
    for now, two_others in (((1.0, 2.0, 4.0), True), ((2.0, 4.0, 8.5), False)):
        monkeypatch.setattr(watcher, "_now", lambda now=now: now)
        watcher.look()
        assert (watcher.team is None) == two_others, "two others have two free cores; two and a half do not fit"


def test_what_the_cores_have_spent(tmp_path, monkeypatch):
    stat = tmp_path / "stat"
    stat.write_text("cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 100 20 30 7000 400 5 6 70 0 0\ncpu1 1 1 1 1 1 1 1 1 1 1\nintr 5\n")
    monkeypatch.setattr(company, "STAT", stat)
    monkeypatch.setattr(company.os, "sysconf", lambda _: 100)
    assert company.spent({0}) == pytest.approx(1.61), "not what was idle, waited for a disk, or was stolen by another machine"
    stat.write_text("cpu0 1\n")
    assert company.spent({0}) is None
    monkeypatch.setattr(company, "STAT", tmp_path / "none")
    assert company.spent({0}) is None


SCRIPT = """
import os, time
from pathlib import Path
import torch
from components.core.company import IdleTeam

x = torch.ones(1 << 17)

def slept(times=500):
    def count():
        lines = [line for task in Path("/proc/self/task").iterdir() for line in (task / "status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    before = count()
    for _ in range(times):
        x.add_(1)
    return count() - before

def tasks(wanted):
    for _ in range(100):
        if len(os.listdir("/proc/self/task")) == wanted:
            break
        time.sleep(0.05)
    return len(os.listdir("/proc/self/task"))

slept()
before = len(os.listdir("/proc/self/task"))
team = IdleTeam()
during = tasks(before + 2)
asleep = slept()
team.end()
print(before, during, tasks(before), asleep, float(x[0]))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="threads are counted by Linux's /proc")
@pytest.mark.skipif(
    len(os.sched_getaffinity(0)) != 2 if hasattr(os, "sched_getaffinity") else True,
    reason="four threads are too many for two cores only",
)
def test_an_idle_team_makes_threads_sleep():
    env = {**os.environ, "OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "1000000000", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=120, check=True)
    before, during, after, asleep, value = done.stdout.split()
    assert int(during) == int(before) + 2, "the team's own thread and its worker"
    assert int(after) == int(before)
    assert int(asleep) >= 250, "of 500 additions, that look for ten seconds otherwise"
    assert float(value) == 1001.0
