"""What each rank was last seen at, so that an error of a collective can name the rank that is behind it.

A collective fails alike on all ranks that wait in it, whichever of the others is stuck or gone. So each rank tells where it is every few seconds,
in the store that the process group was made with, and a rank that a collective has failed on says so there: the one that says nothing is it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, cast

import torch.distributed as dist
from torch.distributed import distributed_c10d

from components.training.missing import Beat, GaveUp, Missing, last_seen, place_of

LOOK = 3.0  # seconds that the other ranks have to say that they have given up too
EVERY = 5.0  # seconds between two beats, at most


class Store(Protocol):
    """The methods of torch's store that are used here; its own type does not list all of them."""

    def set(self, key: str, value: str, /) -> None: ...
    def get(self, key: str, /) -> bytes: ...
    def check(self, keys: list[str], /) -> bool: ...
    def clone(self) -> Store: ...


class Beats(threading.Thread):
    """Tells this rank's beats until ``stop``, once there is a process group.

    Args:
        seconds: that a rank waits for another.
        step: the optimizer steps that this rank has taken; None: it is not known.
    """

    def __init__(self, seconds: float, step: Callable[[], int | None]) -> None:
        super().__init__(name="beats", daemon=True)
        self.every, self.step = min(EVERY, seconds / 8), step
        self._store: Store | None = None
        self._rank, self._ranks, self._number = 0, 1, 0
        self._first: Beat | None = None  # the first rank's, which may hold the store and take it with it
        self._stopped = threading.Event()
        self._main = threading.main_thread()

    def run(self) -> None:
        while not self._stopped.wait(self.every if self._begun else min(0.2, self.every)):
            with suppress(RuntimeError):  # the store is gone: whoever waits for its holder hears of it by itself
                self.beat()

    @property
    def _begun(self) -> bool:
        return self._store is not None and (self._rank == 0 or self._first is not None)

    def stop(self) -> None:
        self._stopped.set()

    def beat(self) -> None:
        """Tell once."""
        if self._store is None and dist.is_initialized():
            # a store of its own: calls of one store wait for one another
            self._rank, self._ranks = dist.get_rank(), dist.get_world_size()
            self._store = cast(Store, distributed_c10d._get_default_store()).clone()
        store = self._store
        if store is None or not self._holder_there():
            return
        self._number += 1
        told = Beat(
            number=self._number, step=self.step(), place=place_of(self._main), pid=os.getpid(), host=socket.gethostname()
        )
        store.set(f"beat/{self._rank}", json.dumps(told))
        if self._rank:
            self._first = self._of(store, 0)

    def _of(self, store: Store, rank: int) -> Beat | None:
        return json.loads(store.get(f"beat/{rank}")) if store.check([f"beat/{rank}"]) else None

    def seen(self, local: int) -> str:
        """Where another rank of this machine was last seen, counted from this rank, as the end of a sentence; empty if nobody knows."""
        held: list[Beat | None] = []
        self._answered(lambda store: held.append(self._of(store, self._rank + local)), 2.0)
        return last_seen(held[0] if held else None)

    def missing(self, *, waited: bool, place: str) -> Missing | None:
        """The rank behind a collective's error on this one; None if nothing is known. Others have ``LOOK`` seconds or more to say that they met it too.

        Args:
            waited: the error is that of a wait, not of a connection.
            place: where it came to this rank.
        """
        if self._store is None:
            return None
        gone = not self._holder_there()
        own: GaveUp = {"waited": waited, "step": self.step(), "place": place}
        held: list[Missing | None] = []
        if not gone and self._answered(lambda store: held.append(self._ask(store, own)), self._wait(waited) + 2.0):
            return held[0]
        if self._rank == 0 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            return None  # the store is this rank's or the launcher's
        return Missing(0, self._first, waited=not gone)

    def _wait(self, waited: bool) -> float:
        return max(LOOK, 1.5 * self.every) if waited else LOOK  # long enough for a beat of each rank that lives

    def _ask(self, store: Store, own: GaveUp) -> Missing | None:
        store.set(f"gave_up/{self._rank}", json.dumps(own))
        others = [rank for rank in range(self._ranks) if rank != self._rank]
        before = {rank: self._of(store, rank) for rank in others}
        time.sleep(self._wait(own["waited"]))
        gave_up: dict[int, GaveUp] = {self._rank: own}
        for rank in others:
            if store.check([f"gave_up/{rank}"]):
                gave_up[rank] = json.loads(store.get(f"gave_up/{rank}"))
        waited, aloud = any(g["waited"] for g in gave_up.values()), self._rank == min(gave_up)
        found = []
        for rank in others:
            if rank not in gave_up:
                beat = self._of(store, rank)
                found.append(Missing(rank, beat, waited=waited, alive=beat != before[rank], aloud=aloud))
        if not found:
            return Missing(self._rank, None, waited=waited, alive=True, aloud=aloud, all_of_them=gave_up)
        # one whose process says nothing comes first, then the one that has come least far
        return min(found, key=lambda m: (m.alive, m.step, m.rank))

    def _holder_there(self) -> bool:
        """Whether something listens where the store is. A call of a store whose holder has gone would print pages."""
        address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", "")
        if self._rank == 0 or not address or not port.isdecimal():
            return True
        try:
            socket.create_connection((address, int(port)), timeout=2.0).close()
        except ConnectionRefusedError:
            return False
        except OSError:
            return True  # it is not known
        return True

    def _answered(self, ask: Callable[[Store], object], seconds: float) -> bool:
        """Whether the store has answered in so many seconds. The call of a store whose holder is stopped never returns."""
        store, done = self._store, threading.Event()
        if store is None:
            return False

        def work() -> None:
            with suppress(RuntimeError):
                ask(store)
                done.set()

        asking = threading.Thread(target=work, name="asking", daemon=True)
        asking.start()
        asking.join(seconds)
        return done.is_set()
