"""Which rank is named, by what the ranks have told in their store: four of them, as threads. (As processes: test_lost_ranks.py.)"""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch.distributed as dist

from components.training import beats, missing
from components.training.watch import Watch


@pytest.fixture(scope="module")
def opened():
    return dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # it draws its port itself


@pytest.fixture
def ranks(opened, monkeypatch, request):
    """Four ranks that have told where they are, at the steps 5 to 8."""
    for name in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(beats, "ANSWER", 60.0)
    store, held = dist.PrefixStore(request.node.name, opened), []
    for rank in range(4):
        one = beats.Beats(60.0, lambda rank=rank: 5 + rank)
        one.rank, one._ranks, one._store = rank, 4, store.clone()
        held.append(one)
    for one in held * 2:  # all have heard of the first one then
        one.beat()
    return held


@pytest.fixture
def give_up(ranks, monkeypatch):
    """A collective fails on these ranks, while those that are ``alive`` tell that they are: what each finds. No clock decides."""

    def fail(*numbers, waited=True, alive=()):
        store, looked = ranks[numbers[0]]._store.clone(), threading.Event()
        before = store.add("ranks that gave up", 0)

        def sleep(seconds):
            if seconds == ranks[0].look:  # of the rank that looks
                while store.add("ranks that gave up", 0) < before + len(numbers):
                    time.sleep(0.01)
                for rank in alive:
                    ranks[rank].beat()
                looked.set()
            else:
                looked.wait(60)
                time.sleep(0.05)

        monkeypatch.setattr(beats, "time", SimpleNamespace(sleep=sleep))
        with ThreadPoolExecutor(len(numbers)) as pool:
            return [*pool.map(lambda n: ranks[n].missing(waited=waited, place=f"line {n % 2}"), numbers)]

    return fail


@pytest.mark.parametrize(("waited", "what"), [(True, "does not answer"), (False, "has gone")])
def test_the_one_that_says_nothing(waited, what, give_up):
    found = give_up(0, 1, 3, waited=waited)
    assert found == [found[0]] * 3
    assert found[0].name.startswith("rank 2 (process ")
    assert found[0].what.startswith(f"{what}, last seen at step 7 in ")
    assert found[0].says == 0, "one of them reports it"


@pytest.mark.parametrize(("alive", "named"), [([1], 2), ([2], 1), ([1, 2], 1)])
def test_a_process_that_tells_nothing_comes_first_then_the_one_that_has_come_least_far(alive, named, give_up):
    found = give_up(0, 3, alive=alive)
    assert [missing.name.split()[1] for missing in found] == [str(named)] * 2


def test_all_wait_for_one_another(give_up):
    said = "wait for one another: rank 0 at step 5 in line 0, rank 1 at step 6 in line 1, rank 2 at step 7 in line 0, rank 3 at step 8 in line 1"
    assert {(f.name, f.what) for f in give_up(3, 2, 1, 0)} == {("all ranks", said)}


def test_who_comes_later_takes_what_was_found(give_up):
    give_up(1, 3)
    (late,) = give_up(2)
    assert (late.name.split()[1], late.says) == ("0", 1)


def test_a_store_that_does_not_answer_is_the_first_rank(ranks, monkeypatch):
    """It holds the store; a launcher's store says nothing of the first rank."""
    monkeypatch.setattr(beats, "ANSWER", 0.1)
    ranks[1]._store = SimpleNamespace(append=lambda *_: threading.Event().wait(5), add=lambda *_: 1)
    missing = ranks[1].missing(waited=True, place="here")
    assert missing is not None
    assert missing.name.startswith("rank 0 (process ")
    assert missing.what.startswith("does not answer, last seen at step 5 in ")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    assert ranks[1].missing(waited=True, place="here") is None


def test_the_first_rank_is_known_before_any_step(opened, monkeypatch):
    """It was stopped before its next beat, and the others could not name its process."""
    store = dist.PrefixStore("met", opened)
    held = [beats.Beats(60.0, lambda: 0) for _ in range(2)]
    for rank, one in enumerate(held):
        one.rank, one._ranks, one._store = rank, 2, store.clone()
        monkeypatch.setattr(one, "_holder_there", lambda: True)
    with ThreadPoolExecutor(2) as pool:
        second = pool.submit(held[1].meet)
        time.sleep(0.2)  # the second rank is there first
        held[0].meet()
        second.result()
    assert held[1]._begun
    assert held[1]._first == beats.of(store, 0)


def test_a_rank_that_has_started_the_others_always_says_why(ranks, give_up):
    """It ends them before they could. 3 s: it waits as long for a rank's end."""
    give_up(1, 2, 3)
    watch, error = Watch(), RuntimeError("[gloo] Timed out waiting 5000ms for recv operation to complete")
    watch.beats = ranks[0]
    lost = watch.explained(error)
    assert lost is not None
    assert not lost.aloud
    watch.children = [SimpleNamespace(poll=lambda: None, pid=1 << 30)]  # type: ignore[list-item]  # a process that lives
    lost = watch.explained(error)
    assert lost is not None
    assert lost.aloud


def test_who_imports_is_named_and_not_the_importer():
    """A process that was stopped while it imported: a file of Python's own, whose name no reader can open."""
    importer = compile("import sys\nsaid = named(sys._getframe(), 2)", "<frozen importlib._bootstrap_external>", "exec")
    here = {"named": missing.named}
    exec(importer, here)
    assert re.fullmatch(r"test_who_imports\w+ \(test_beats\.py:\d+\)", here["said"])
