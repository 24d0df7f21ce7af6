"""Threads wait by looking where the machine is free, and asleep where it is shared; what the user says stands."""

from __future__ import annotations

import os

import pytest

from components.core import threads


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in (*threads.GIVEN, "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "APART", 0.0)
    monkeypatch.setattr(threads, "settled", "")


def running(tmp_path, monkeypatch, count):
    stat = tmp_path / "stat"
    stat.write_text(f"cpu 1 2 3\nprocs_running {count}\nprocs_blocked 0\n")
    monkeypatch.setattr(threads, "STAT", stat)


@pytest.mark.parametrize(("count", "spins"), [(1, "10000"), (2, "0"), (9, "0")])
def test_by_what_runs(count, spins, tmp_path, monkeypatch):
    running(tmp_path, monkeypatch, count)
    threads.settle()
    assert os.environ.pop("GOMP_SPINCOUNT") == spins
    assert threads.settled.startswith(f"{spins} looks, then asleep: ")


def test_where_the_system_does_not_say(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "STAT", tmp_path / "none")
    assert threads.waiting() == (threads.ALONE, "the system does not say what else runs")


@pytest.mark.parametrize("given", [("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "7"), ("OMP_NUM_THREADS", "1")])
def test_what_the_user_says_stands(given, tmp_path, monkeypatch):
    running(tmp_path, monkeypatch, 9)
    monkeypatch.setenv(*given)
    threads.settle()
    assert os.environ.get("GOMP_SPINCOUNT") == ("7" if given[0] == "GOMP_SPINCOUNT" else None)
    assert "=".join(given) in threads.settled


@pytest.mark.parametrize(("together", "spins"), [(True, "0"), (False, None)])
def test_jobs_of_a_sweep(together, spins, tmp_path, monkeypatch):
    running(tmp_path, monkeypatch, 1)
    threads.settle()
    job = {"GOMP_SPINCOUNT": os.environ.pop("GOMP_SPINCOUNT")}
    threads.of_a_job(job, together=together)
    assert job.get("GOMP_SPINCOUNT") == spins
    monkeypatch.setattr(threads, "settled", "as the environment says: GOMP_SPINCOUNT=7")
    job = {"GOMP_SPINCOUNT": "7"}
    threads.of_a_job(job, together=together)
    assert job == {"GOMP_SPINCOUNT": "7"}
