"""What each rank was last seen at, so that an error of a collective can name the rank that is behind it.

A collective fails alike on all ranks that wait in it, whichever of the others is stuck or gone. So each rank tells where it is every few seconds,
in the store that the process group was made with, and a rank that a collective has failed on says so there: the one that says nothing is it.
The first rank that has failed finds it and tells the others, so the work of a failure grows with the number of ranks and not with its square.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar, cast

import torch.distributed as dist
from torch.distributed import distributed_c10d

from components.training.missing import Beat, GaveUp, Missing, all_gave_up, last_seen, place_of, silent

LOOK = 3.0  # seconds, at least, that the other ranks have to say that they have given up too
EVERY = 5.0  # seconds between two beats, at most
ANSWER = 2.0  # seconds that the store has for an answer

T = TypeVar("T")


class Store(Protocol):
    """The methods of torch's store that are used here; its own type does not list all of them."""

    def set(self, key: str, value: str, /) -> None: ...
    def get(self, key: str, /) -> bytes: ...
    def add(self, key: str, amount: int, /) -> int: ...
    def append(self, key: str, value: str, /) -> None: ...
    def check(self, keys: list[str], /) -> bool: ...
    def clone(self) -> Store: ...


class Beats(threading.Thread):
    """Tells this rank's beats until ``stop``, once there is a process group.

    Args:
        seconds: that a rank waits for another.
        step: the optimizer steps that this rank has taken.
    """

    def __init__(self, seconds: float, step: Callable[[], int]) -> None:
        super().__init__(name="beats", daemon=True)
        self.every, self.step = min(EVERY, seconds / 8), step
        self.look = max(LOOK, 1.5 * self.every)  # long enough for a beat of each rank that lives
        self.rank, self._ranks, self._number = 0, 1, 0
        self._store: Store | None = None
        self._first: Beat | None = None  # the first rank's, which may hold the store and take it with it
        self._stopped, self._telling = threading.Event(), threading.Lock()
        self._main = threading.main_thread()

    def run(self) -> None:
        while not self._stopped.wait(self.every if self._begun else min(0.2, self.every)):
            with suppress(RuntimeError):  # the store is gone: whoever waits for its holder hears of it by itself
                self.beat()

    @property
    def _begun(self) -> bool:
        return self._store is not None and (self.rank == 0 or self._first is not None)

    def stop(self) -> None:
        self._stopped.set()

    def meet(self) -> None:
        """Tell once, and hear of the first rank, where all ranks have just made the group: it may be stuck sooner than its next beat."""
        self.beat()
        if self._begun or self._store is None:
            return
        first = self._asked(lambda store: store.get("beat/0"), self.look)  # it waits until the first rank has told
        self._first = json.loads(first) if first is not None else None

    def beat(self) -> None:
        """Tell once."""
        with self._telling:
            self._tell()

    def _tell(self) -> None:
        if self._store is None and dist.is_initialized():
            # a store of its own: calls of one store wait for one another
            self.rank, self._ranks = dist.get_rank(), dist.get_world_size()
            self._store = cast(Store, distributed_c10d._get_default_store()).clone()
        store = self._store
        if store is None or not self._holder_there():
            return
        self._number += 1
        told = Beat(
            number=self._number, step=self.step(), place=place_of(self._main), pid=os.getpid(), host=socket.gethostname()
        )
        store.set(f"beat/{self.rank}", json.dumps(told))
        if self.rank:
            self._first = of(store, 0)

    def seen(self, local: int) -> str:
        """Where another rank of this machine was last seen, counted from this rank, as the end of a sentence; empty if nobody knows."""
        return last_seen(self._asked(lambda store: of(store, self.rank + local), ANSWER))

    def missing(self, *, waited: bool, place: str) -> Missing | None:
        """The rank behind a collective's error on this one; None if it is not known. Other ranks have ``look`` seconds to say that they met it too.

        Args:
            waited: the error is that of a wait, not of a connection.
            place: where it came to this rank.
        """
        if self._store is None:
            return None
        own = GaveUp(rank=self.rank, waited=waited, step=self.step(), place=place)
        there = self._holder_there()
        if there and (turn := self._asked(lambda store: give_up(store, own), ANSWER)) is not None:
            return self._asked(self._find if turn == 1 else self._told, 2 * self.look + ANSWER)
        if self.rank == 0 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            return None  # the store is this rank's or the launcher's
        return silent(0, self._first, waited=there, says=self.rank)

    def _find(self, store: Store) -> Missing:
        """Look who has given up and who not, and tell the others."""
        before = {rank: of(store, rank) for rank in range(self._ranks)}
        time.sleep(self.look)
        held: list[GaveUp] = [json.loads(line) for line in store.get("gave_up").splitlines()]
        gave_up = {one["rank"] for one in held}
        waited, says = any(one["waited"] for one in held), min(gave_up)
        now = {rank: of(store, rank) for rank in before if rank not in gave_up}
        if now:  # one whose process says nothing comes first, then the one that has come least far
            rank = min(now, key=lambda r: (now[r] != before[r], (now[r] or {"step": 0})["step"], r))
            found = silent(rank, now[rank], waited=waited, says=says)
        else:
            found = all_gave_up(held, waited=waited, says=says)
        store.set("missing", json.dumps(found))
        return found

    def _told(self, store: Store) -> Missing | None:
        """What the rank that looks has found."""
        for _ in range(20):
            if store.check(["missing"]):
                return Missing(*json.loads(store.get("missing")))
            time.sleep(self.look / 10)
        return None

    def _holder_there(self) -> bool:
        """Whether something listens where the store is. A call of a store whose holder has gone would print pages."""
        address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", "")
        if self.rank == 0 or not address or not port.isdecimal():
            return True
        try:
            socket.create_connection((address, int(port)), timeout=ANSWER).close()
        except ConnectionRefusedError:
            return False
        except OSError:
            return True  # it is not known
        return True

    def _asked(self, ask: Callable[[Store], T], seconds: float) -> T | None:
        """The store's answer; None if it does not come in so many seconds. The call of a store whose holder is stopped never returns."""
        store, answer = self._store, list[T]()
        if store is None:
            return None

        def work() -> None:
            with suppress(RuntimeError):
                answer.append(ask(store))

        asking = threading.Thread(target=work, name="asking", daemon=True)
        asking.start()
        asking.join(seconds)
        return answer[0] if answer else None


def of(store: Store, rank: int) -> Beat | None:
    """What a rank has told last."""
    return json.loads(store.get(f"beat/{rank}")) if store.check([f"beat/{rank}"]) else None


def give_up(store: Store, own: GaveUp) -> int:
    """Say that a collective has failed here; the number of ranks that have said so by now."""
    store.append("gave_up", json.dumps(own) + "\n")
    return store.add("ranks that gave up", 1)
