"""Examples on disk, one line of JSON each, with the end of each line. A process holds only the examples it looks at.

A split is ``Stored``. ``Chosen`` is a selection of examples by number, and ``Chained`` joins several sequences.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from components.core.errors import UserError
from components.corpus.example import Example, Message, Values


class Examples(Sequence[Example]):
    """Examples by number. A slice is a list. Equal to any sequence of equal examples."""

    # equal by what they hold, as a list is, and like a list no key; typeshed gives every class a hash that is callable
    __hash__ = None  # type: ignore[assignment]

    @abstractmethod
    def example(self, number: int) -> Example:
        """Number 0 to ``len`` - 1."""

    @overload
    def __getitem__(self, key: int) -> Example: ...
    @overload
    def __getitem__(self, key: slice) -> list[Example]: ...
    def __getitem__(self, key: int | slice) -> Example | list[Example]:
        if isinstance(key, slice):
            return [self.example(i) for i in range(*key.indices(len(self)))]
        number = key + len(self) if key < 0 else key
        if not 0 <= number < len(self):
            raise IndexError(key)
        return self.example(number)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other))

    def __repr__(self) -> str:
        return f"<{len(self)} examples>"


class Stored(Examples):
    """The examples in a file of ``Writer``, read on demand. Another process opens the file again."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.ends = np.load(ends_of(file), mmap_mode="r" if ends_of(file).stat().st_size > 128 else None)
        self.lines = (
            np.memmap(file, np.uint8, "r") if len(self.ends) else np.zeros(0, np.uint8)
        )  # an empty file cannot be mapped
        if len(self.ends) and int(self.ends[-1]) != len(self.lines):
            raise damaged(file, "it has not the length that it was written with")

    def __len__(self) -> int:
        return len(self.ends)

    def __reduce__(self) -> tuple[object, ...]:
        return Stored, (self.file,)

    def example(self, number: int) -> Example:
        start = int(self.ends[number - 1]) if number else 0
        try:
            given, answer, origin, line, split, *more = json.loads(self.lines[start : int(self.ends[number])].tobytes())
            read = given if isinstance(given, str) else _frozen(given)
            said = tuple(answer) if isinstance(answer, list) else answer
            tools = tuple(more.pop()["tools"]) if more and isinstance(more[-1], dict) else None
            return Example(read, said, origin, line, split, tuple(tuple(one) for one in more), tools)
        except (ValueError, TypeError, KeyError):
            raise damaged(self.file, f"line {number + 1} is no example") from None


class Chosen(Examples):
    """The members of ``examples`` with these numbers."""

    def __init__(self, examples: Sequence[Example], numbers: np.ndarray) -> None:
        self.examples, self.numbers = examples, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def example(self, number: int) -> Example:
        return self.examples[int(self.numbers[number])]


class Chained(Examples):
    """Several, one after another."""

    def __init__(self, parts: Sequence[Sequence[Example]]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __iter__(self) -> Iterator[Example]:
        for part in self.parts:
            yield from part

    def example(self, number: int) -> Example:
        for part in self.parts:
            if number < len(part):
                return part[number]
            number -= len(part)
        raise IndexError(number)


class Writer:
    """Writes a file for ``Stored``: ``add`` each example; the file is complete at the end of the ``with`` block."""

    def __init__(self, file: Path) -> None:
        self.file, self.ends = file, array("q")

    def __len__(self) -> int:
        return len(self.ends)

    def __enter__(self) -> Writer:
        self.stream = self.file.open("wb")
        return self

    def add(self, e: Example) -> None:
        tools = (
            [] if e.tools is None else [{"tools": e.tools}]
        )  # last, so that lines without any are what they were before there were tools
        line = json.dumps([e.input, e.answer, e.origin, e.line, e.split, *e.answers, *tools]) + "\n"
        self.ends.append((self.ends[-1] if self.ends else 0) + self.stream.write(line.encode()))

    def __exit__(self, *error: object) -> None:
        self.stream.close()
        np.save(ends_of(self.file), np.frombuffer(self.ends, dtype=np.int64) if self.ends else np.zeros(0, dtype=np.int64))


def _frozen(given: list[Message] | list[list[float]]) -> Values | tuple[Message, ...]:
    """An example's messages or rows of numbers, from the lists of JSON."""
    return tuple(v if isinstance(v, dict) else tuple(v) for v in given)  # type: ignore[return-value]  # a list of one kind gives a tuple of that kind


def ends_of(file: Path) -> Path:
    return file.with_suffix(".ends.npy")


def damaged(file: Path, what: str) -> UserError:
    return UserError(str(file), f"is damaged: {what}", f"remove the folder {file.parent}; it is made anew from the data")
