"""How a source divides: into shards, whose documents one after another are those of the source. Each may be read by a process of its own."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from components.corpus.document import Document

SIZE = 32 * 2**20  # bytes of a shard, about: what a killed worker loses at most


class Shard(Protocol):
    """A part of a source, which pickle can take to another process. ``notes`` go into the report; they are complete once the documents are read."""

    @property
    def notes(self) -> Sequence[str]: ...
    def documents(self) -> Iterator[Document]: ...


@runtime_checkable
class Divides(Protocol):
    """A source that says how it divides."""

    def shards(self, size: int) -> Sequence[Shard]:
        """Its parts in order, each of about ``size`` bytes. Where each document stands is said as the source itself says it."""
        ...


def shards_of(source: Shard, size: int = SIZE) -> Sequence[Shard]:
    """The parts of a source; the source alone where it does not divide."""
    return (source.shards(size) or [source]) if isinstance(source, Divides) else [source]


def portable(shard: object) -> bool:
    """Whether another process can read it: not what a notebook or a script defines itself, nor what holds an open file."""
    if type(shard).__module__ == "__main__":
        return False
    try:
        pickle.dumps(shard)
    except (pickle.PicklingError, TypeError, AttributeError, OSError):
        return False
    return True
