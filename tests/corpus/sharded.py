"""A source in shards that other processes import, what it gives, and what one pass over it made before there were shards."""

from __future__ import annotations

import hashlib
import os
import random
import signal
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from components.core.errors import UserError
from components.corpus.clean import Report, cut, first_bad, glimpse
from components.corpus.document import Document
from components.corpus.store import key_of
from components.corpus.texts import SPLITS

COUNT = 900


def documents() -> list[Document]:
    """Ordinary ones, empty ones, bytes that are no UTF-8, over-long ones, and duplicates near and far of all of them."""
    draw = random.Random(0)
    made: list[Document] = []
    for i in range(COUNT):
        text = f"document {i}: été 東京 " + "x" * draw.randrange(40) + "\n\n" * draw.randrange(2) + "end"
        kind = draw.random()
        if kind < 0.05:
            text = " " * draw.randrange(3)
        elif kind < 0.1:
            text += "\udce9"
        elif kind < 0.2:
            text = " ".join(f"long {i} {j}" for j in range(60))
        elif kind < 0.4 and made:
            text = made[draw.randrange(len(made))].text
        made.append(Document(text, f"file {i // 37}.txt", i % 37))
    return made


@dataclass
class Piece:
    """The documents from ``first`` to before ``last``. Keeps a list of what was read, and kills a process at document ``kill``, once."""

    first: int
    last: int
    log: str = ""
    kill: int = -1
    parent: bool = False
    notes: list[str] = field(default_factory=list)

    def documents(self):
        for i, document in enumerate(documents()[self.first : self.last], self.first):
            if i == self.kill and not os.path.exists(f"{self.log}.killed"):
                Path(f"{self.log}.killed").touch()
                if self.parent:
                    os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
            yield document
        self.notes = ["the first document was read"] if self.first == 0 < self.last else []
        if self.log:
            with open(self.log, "a") as f:
                f.write(f"{self.first}\n")


@dataclass
class Sharded:
    """The source. ``cuts``: where its shards begin."""

    cuts: list[int]
    log: str = ""
    kill: int = -1
    parent: bool = False
    notes: list[str] = field(default_factory=list)

    def fingerprint(self):
        return key_of("sharded")

    def documents(self):
        for shard in self.shards(0):
            yield from shard.documents()

    def shards(self, size):  # noqa: ARG002
        edges = [0, *self.cuts, COUNT]
        return [Piece(a, b, self.log, self.kill, self.parent) for a, b in pairwise(edges)]


def in_one_pass(given, cleaning):
    """(report, {split: (text, ends)}, hash of the text): all at once and in memory."""
    report, seen = Report(), set()
    whole = hashlib.blake2b(digest_size=16)
    texts: dict[str, list[bytes]] = {split: [] for split in SPLITS}
    for document in given:
        report.read += 1
        text = document.text
        if not text.strip():
            report.met("empty", document.where)
            continue
        try:
            digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        except UnicodeEncodeError:
            report.met("undecodable", first_bad(document))
            continue
        if digest in seen:
            report.met("duplicates", f"{document.where} {glimpse(text)}")
            continue
        seen.add(digest)
        whole.update(digest)
        pieces = [text]
        if len(text) > cleaning.max_chars:
            report.met("over_long", f"{document.where} ({len(text)} characters)")
            pieces = cut(text, cleaning.max_chars)
        report.kept += len(pieces)
        report.characters += len(text)
        texts[cleaning.split_of(digest)] += [p.encode() for p in pieces]
    report.documents = {split: len(of) for split, of in texts.items()}
    return report, {s: (b"".join(of), np.cumsum([len(p) for p in of])) for s, of in texts.items()}, whole.hexdigest()


def mistake(tick):  # noqa: ARG001
    raise UserError("tokenizer", "reads ordinary text as a token")


def fault(tick):  # noqa: ARG001
    print("this is no reply")
    return 1 / 0
