"""How a corpus is made, which is no property of what comes out: by how many processes, which share of it, and where finished pieces lie."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from components.corpus.shards import SIZE, portable
from components.corpus.store import Meta, build, read_whole
from components.corpus.workers import Workers, cores

FORGOTTEN = 30 * 24 * 3600  # seconds after which the pieces of a preparation that nobody went on with are removed


@dataclass(frozen=True)
class Asked:
    """What a user asks of a preparation.

    Args:
        workers: processes, one core each; None: as many as there are cores, for a corpus that is worth them.
        share: (i, n): the i-th of n shares of the pieces, from 1; None: all of them.
        size: bytes of a shard, about.
    """

    workers: int | None = None
    share: tuple[int, int] | None = None
    size: int = SIZE


ASKED: ContextVar[Asked | None] = ContextVar("asked", default=None)


@contextmanager
def asking(how: Asked) -> Iterator[None]:
    """Whatever prepares a corpus within the block does it in this way."""
    token = ASKED.set(how)
    try:
        yield
    finally:
        ASKED.reset(token)


def asked() -> Asked:
    """How the corpora of this block are to be made."""
    return ASKED.get() or Asked()


class Unfinished(Exception):
    """A share is done, and others are missing. ``what``: the work in a word; ``done`` of ``total`` pieces are there."""

    def __init__(self, what: str, done: int, total: int) -> None:
        super().__init__(f"{what}: {done} of {total} pieces are there")
        self.what, self.done, self.total = what, done, total


class Work:
    """One corpus being made; a context manager that ends its processes.

    Args:
        how: what is asked.
        pieces: the folder where finished pieces of a large corpus lie until all are there.
    """

    def __init__(self, how: Asked, pieces: Path) -> None:
        self.asked, self.pieces = how, pieces
        self.workers = Workers(how.workers or cores())

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *error: object) -> None:
        self.workers.__exit__()

    def each(
        self,
        what: str,
        function: Callable[..., Meta],
        tasks: Sequence[tuple[object, ...]],
        tick: Callable[[int], None],
        here: Path | None = None,
    ) -> list[tuple[Path, Meta]]:
        """(folder, meta) of the piece that ``function(folder, tick, *task)`` makes of each task.

        Args:
            what: the work, in a word that names a folder.
            function: fills an empty folder, and returns what to remember of it.
            tasks: their arguments.
            tick: told how many more of its things are done.
            here: a small corpus is made in this process, and its pieces lie in this folder.

        Raises:
            Unfinished: a share was asked, and others are missing.
        """
        places = [(here or self.pieces / what) / f"{i:05d}" for i in range(len(tasks))]
        if here is not None:
            return [(place, _made(tick, function, place, *task)) for place, task in zip(places, tasks)]
        mine = self._mine(len(tasks))
        calls = [(function, places[i], *tasks[i]) for i in mine]
        kinds = {type(argument): argument for task in tasks for argument in task}  # one of each: they may hold whole tokenizers
        if all(map(portable, kinds.values())):
            made = dict(zip(mine, self.workers.run(_kept, calls, tick)))
        else:
            made = {i: _kept(tick, *call) for i, call in zip(mine, calls)}
        if self.asked.share is not None:
            made = {i: meta for i, place in enumerate(places) if (meta := read_whole(place, sums=False)) is not None}
            if len(made) < len(places):
                raise Unfinished(what, len(made), len(places))
        return [(place, made[i]) for i, place in enumerate(places)]

    def _mine(self, count: int) -> list[int]:
        """The numbers of this share's pieces. Ranks that prepare the same corpus at once begin at different ones, and find those of the others."""
        if self.asked.share is not None:
            i, n = self.asked.share
            return [*range(i - 1, count, n)]
        rank, ranks = (int(os.environ.get(name) or least) for name, least in (("RANK", 0), ("WORLD_SIZE", 1)))
        first = count * rank // max(1, ranks)
        return [*range(first, count), *range(first)]

    def clear(self) -> None:
        """Remove the pieces, which a finished corpus does not need, and those of corpora that nobody has gone on with."""
        if not self.pieces.parent.is_dir():
            return
        shutil.rmtree(self.pieces, ignore_errors=True)
        for left in self.pieces.parent.iterdir():
            try:
                if time.time() - max(f.stat().st_mtime for f in (left, *left.iterdir())) > FORGOTTEN:
                    shutil.rmtree(left, ignore_errors=True)
            except OSError:
                continue  # another process was faster


def _kept(tick: Callable[[int], None], function: Callable[..., Meta], place: Path, *task: object) -> Meta:
    return build(place, lambda folder: function(folder, tick, *task))


def _made(tick: Callable[[int], None], function: Callable[..., Meta], place: Path, *task: object) -> Meta:
    place.mkdir(parents=True)
    return function(place, tick, *task)
