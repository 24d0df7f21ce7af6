"""Ranks as threads of this process: collectives as between processes, in milliseconds."""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.testing._internal.distributed import multi_threaded_pg


class Mail:
    """``send`` and ``recv`` of torch, which the group of threads lacks."""

    def __init__(self) -> None:
        self.boxes: dict[tuple[int, int], queue.SimpleQueue[torch.Tensor]] = defaultdict(queue.SimpleQueue)

    def send(self, x: torch.Tensor, dst: object = None, group: Any = None, tag: int = 0, *, group_dst: int) -> None:  # noqa: ARG002
        self.boxes[dist.get_rank(group), group_dst].put(x.detach().clone())

    def recv(self, x: torch.Tensor, src: object = None, group: Any = None, tag: int = 0, *, group_src: int) -> None:  # noqa: ARG002
        x.detach().copy_(self.boxes[group_src, dist.get_rank(group)].get())


def on_ranks(count: int, function: Callable[[int], Any], *, timeout: float = 60) -> list[Any]:
    """What ``function(rank)`` gives or raises, for each rank. AssertionError where one has not ended in time: it waits for another."""
    results: list[Any] = [None] * count
    store = dist.HashStore()

    def run(rank: int) -> None:
        dist.init_process_group("threaded", rank=rank, world_size=count, store=store)
        try:
            results[rank] = function(rank)
        except Exception as e:
            results[rank] = e
        finally:
            dist.destroy_process_group()

    plain = {(module, name): getattr(module, name) for module in (dist, dist.distributed_c10d) for name in ("send", "recv")}
    mail = Mail()
    for module, name in plain:
        setattr(module, name, getattr(mail, name))
    multi_threaded_pg._install_threaded_pg()
    torch._C._distributed_c10d._set_thread_isolation_mode(True)
    try:
        threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout)
        waiting = [rank for rank, thread in enumerate(threads) if thread.is_alive()]
        assert not waiting, f"ranks {waiting} wait for ever; others: {results}"
    finally:
        torch._C._distributed_c10d._set_thread_isolation_mode(False)
        multi_threaded_pg._uninstall_threaded_pg()
        for (module, name), function in plain.items():
            setattr(module, name, function)
    return results
