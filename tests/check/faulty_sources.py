"""Sources of data that break their contract on purpose, each in one way; what is sound stands first, to be broken below."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path as File
from typing import Any

import numpy as np

from components.core.signature import Path
from components.corpus.contents import hash_of
from components.corpus.document import Document
from components.corpus.example import Example
from components.corpus.store import key_of


class Numbers:
    """Sound: numbers that are even or odd."""

    provides: Any = ("values", "labels")
    labels: tuple[str, ...] = ("even", "odd")

    def __init__(self, *, count: int = 20) -> None:
        self.count = count

    def fingerprint(self) -> str:
        return key_of("numbers", self.count)

    def row(self, i: int) -> Any:
        return ((float(i), 1.0),)

    def answer(self, i: int) -> Any:
        return self.labels[i % 2]

    def examples(self) -> Iterator[Example]:
        for i in range(self.count):
            yield Example(self.row(i), self.answer(i), "numbers", i + 1)


class Lines:
    """Sound: the lines of a file, as documents and as examples of their lengths."""

    provides = ("text", "amounts")

    def __init__(self, *, path: Path, upper: bool = False) -> None:
        self.path, self.upper = File(path), upper

    def fingerprint(self) -> str:
        return key_of("lines", self.upper, hash_of([self.path]))

    def documents(self) -> Iterator[Document]:
        for i, line in enumerate(self.path.read_text().splitlines(), 1):
            yield Document(line.upper() if self.upper else line, str(self.path), i)

    def examples(self) -> Iterator[Example]:
        return (Example(d.text, (float(len(d.text)),), d.origin, d.line) for d in self.documents())


class Talks(Numbers):
    """Sound: conversations about numbers."""

    provides = ("conversations",)
    labels = ()

    def row(self, i: int) -> Any:
        return ({"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"{i}!"})

    def answer(self, i: int) -> Any:  # noqa: ARG002
        return None


# faulty


class InAnyOrder(Numbers):
    def examples(self) -> Iterator[Example]:
        found = list(super().examples())
        random.shuffle(found)
        yield from found


class SaysItOnce(Numbers):
    """A second reading of the same source is empty."""

    def __init__(self, *, count: int = 20) -> None:
        super().__init__(count=count)
        self.left = super().examples()

    def examples(self) -> Iterator[Example]:
        yield from self.left


class StampsTheTime(Numbers):
    def fingerprint(self) -> str:
        return key_of(time.perf_counter_ns())


class ForgetsAnOption(Numbers):
    def fingerprint(self) -> str:
        return key_of("numbers")


class ForgetsASwitch(Lines):
    def fingerprint(self) -> str:
        return key_of("lines", hash_of([self.path]))


class LooksAtTheNameAlone(Lines):
    def fingerprint(self) -> str:
        return key_of("lines", self.upper, str(self.path))


class SaysNothing(Numbers):
    provides = ()


class PromisesText(Numbers):
    provides = ("text", "values", "labels")


class GivesNothing(Numbers):
    def examples(self) -> Iterator[Example]:
        yield from ()


class NumbersTheLabels(Numbers):
    labels = ()

    def answer(self, i: int) -> Any:
        return i % 2


class AnotherLabel(Numbers):
    def answer(self, i: int) -> Any:
        return "big" if i > 10 else super().answer(i)


class Ragged(Numbers):
    def row(self, i: int) -> Any:
        return ((float(i), 1.0)[: 1 + i % 2],)


class FiguresOfNumpy(Numbers):
    def row(self, i: int) -> Any:
        return ((np.float32(i), 1.0),)


class Lists(Numbers):
    def row(self, i: int) -> Any:
        return [[float(i), 1.0]]


class AnotherRole(Talks):
    def row(self, i: int) -> Any:
        return ({"role": "human", "content": f"{i}?"},)


class NoPlace(Numbers):
    def examples(self) -> Iterator[Example]:
        for e in super().examples():
            yield Example(e.input, e.answer, "")


class AnotherSplit(Numbers):
    def examples(self) -> Iterator[Example]:
        for e in super().examples():
            yield Example(e.input, e.answer, e.origin, e.line, "dev")
