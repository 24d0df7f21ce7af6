"""Threads wait by looking while the machine is free, and asleep while others want its cores; what the user says stands."""

from __future__ import annotations

import os

import pytest

from components.core import company, threads


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in (*threads.GIVEN, "OMP_NUM_THREADS", threads.OURS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "settled", "")
    monkeypatch.setattr(company.Watcher, "start", lambda _: None)
    monkeypatch.setattr(threads, "gnus", lambda: True)
    yield
    for name in threads.GIVEN:  # what a test has settled
        os.environ.pop(name, None)


def said(tmp_path, monkeypatch, *cores):
    """The machine has spent so many ticks on each core."""
    stat = tmp_path / "stat"
    lines = [f"cpu{i} {ticks} 0 0 1000 0 0 0 0 0 0" for i, ticks in enumerate(cores)]
    stat.write_text("\n".join(["cpu  1 2 3 4 5 6 7 8 9 0", *lines, "procs_running 3", ""]))
    monkeypatch.setattr(company, "STAT", stat)


def test_they_look_and_somebody_watches(tmp_path, monkeypatch):
    said(tmp_path, monkeypatch, 0, 0)
    threads.settle()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    assert threads.settled == "10000 looks, then asleep: asleep at once while other processes want the cores"


def test_where_the_system_does_not_say(tmp_path, monkeypatch):
    monkeypatch.setattr(company, "STAT", tmp_path / "none")
    monkeypatch.setattr(company, "Watcher", pytest.fail)
    threads.settle()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    assert "OMP_WAIT_POLICY" not in os.environ
    assert threads.settled == "10000 looks, then asleep: the system does not say what else runs"


def test_a_process_that_is_started_chooses_for_itself(tmp_path, monkeypatch):
    said(tmp_path, monkeypatch, 0, 0)
    threads.settle()
    monkeypatch.setattr(threads, "settled", "")
    threads.settle()  # with the environment that the first has left
    assert threads.settled.startswith("10000 looks")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.setattr(threads, "settled", "")
    threads.settle()
    assert threads.settled == "as the environment says: GOMP_SPINCOUNT=7"


def test_an_openmp_that_is_not_gnus_has_no_policy(tmp_path, monkeypatch):
    """It would sleep at once."""
    said(tmp_path, monkeypatch, 0, 0)
    monkeypatch.setattr(threads, "gnus", lambda: False)
    threads.settle()
    assert "OMP_WAIT_POLICY" not in os.environ


@pytest.mark.parametrize("given", [("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "7"), ("OMP_NUM_THREADS", "1")])
def test_what_the_user_says_stands(given, tmp_path, monkeypatch):
    said(tmp_path, monkeypatch, 0, 0)
    monkeypatch.setenv(*given)
    threads.settle()
    assert os.environ.get("GOMP_SPINCOUNT") == ("7" if given[0] == "GOMP_SPINCOUNT" else None)
    assert "=".join(given) in threads.settled


@pytest.mark.parametrize(("together", "spins"), [(True, "0"), (False, None)])
def test_jobs_of_a_sweep(together, spins, tmp_path, monkeypatch):
    said(tmp_path, monkeypatch, 0, 0)
    threads.settle()
    job = {name: os.environ[name] for name in threads.GIVEN}
    threads.of_a_job(job, together=together)
    assert job == ({"GOMP_SPINCOUNT": spins} if spins else {})
    monkeypatch.setattr(threads, "settled", "as the environment says: GOMP_SPINCOUNT=7")
    job = {"GOMP_SPINCOUNT": "7"}
    threads.of_a_job(job, together=together)
    assert job == {"GOMP_SPINCOUNT": "7"}
