"""Mixing corpora in fixed proportions, as pretraining does."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from components.core.makers import Makers, make_all
from components.core.registry import register
from components.corpus.document import Document
from components.corpus.store import key_of


@register("data", "mixed")
class Mixed:
    """Several sources in given proportions, without repeating a document.

    It is the largest mixture in which source ``i`` has its share and no document comes twice: one source is read whole.

    The share that each source has in the tokens of training is a column of metrics.csv, ``share_`` and its name.

    Which documents of the others are taken is drawn by a hash of seed and text, so a source that grows mostly keeps them.

    Args:
        parts: the sources.
        weights: the share of each, up to a common factor; none given: all that every source has.
        by: what the weights count, characters or documents.
        names: what to call the sources; none given: as their parts are called, with a number where one comes again.
        seed: of the draw.
    """

    provides = ("text",)

    def __init__(
        self,
        *,
        parts: Makers["data"],
        weights: list[float] | None = None,
        by: Literal["characters", "documents"] = "characters",
        names: list[str] | None = None,
        seed: int = 0,
    ) -> None:
        self.parts = make_all(parts, "data")
        if not self.parts:
            raise ValueError("parts is empty: mixed needs at least one source")
        if weights is not None and (len(weights) != len(self.parts) or min(weights) <= 0):
            raise ValueError(f"weights={list(weights)} must be {len(self.parts)} positive numbers, one for each part")
        if names is not None and (len(names) != len(self.parts) or len(set(names)) < len(names) or "" in names):
            raise ValueError(f"names={list(names)} must be {len(self.parts)} different names, one for each part")
        self.weights, self.by, self.seed = weights, by, seed
        self.names = list(names) if names is not None else named(self.parts)
        self.notes: list[str] = []

    def fingerprint(self) -> str:
        held = [[type(p).__qualname__, p.fingerprint()] for p in self.parts]
        return key_of("mixed", held, self.weights, self.by, self.seed, self.names)

    def documents(self) -> Iterator[Document]:
        self.notes.clear()
        limits = self._limits() if self.weights is not None else [2**64] * len(self.parts)
        for part, limit, name in zip(self.parts, limits, self.names):
            seen: set[bytes] = set()
            n = taken = 0
            for document in part.documents():
                drawn = self._drawn(document)
                repeated = drawn in seen
                seen.add(drawn)
                if int.from_bytes(drawn[:8], "big") < limit:
                    n += not repeated
                    taken += 0 if repeated else len(document.text)
                    inner = f"{name}/{document.source}" if document.source else name
                    yield replace(document, source=inner)  # repeated ones too, for cleaning to count
            self.notes.extend(part.notes)
            self.notes.append(f"{name}: {n} documents, {taken} characters in the mixture")

    def _drawn(self, document: Document) -> bytes:
        text = document.text.encode("utf8", errors="surrogatepass")
        return hashlib.blake2b(text, digest_size=16, key=str(self.seed).encode()).digest()

    def _limits(self) -> list[int]:
        """For each source the number that a document's hash must stay below, from one reading of all of them."""
        held = []
        for part in self.parts:
            sizes = {self._drawn(d): len(d.text) if self.by == "characters" else 1 for d in part.documents() if d.text.strip()}
            held.append(sorted((int.from_bytes(h[:8], "big"), size) for h, size in sizes.items()))
        assert self.weights is not None
        scale = min(sum(size for _, size in rows) / weight for rows, weight in zip(held, self.weights))
        limits = []
        for rows, weight in zip(held, self.weights):
            total, limit = 0, 2**64
            for drawn, size in rows:
                if total + size / 2 > scale * weight:  # nearest to the share
                    limit = drawn
                    break
                total += size
            limits.append(limit)
        return limits


def named(parts: list[object]) -> list[str]:
    """``text``, ``token_files``, ``text_2``."""
    met: Counter[str] = Counter()
    made = []
    for part in parts:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(part).__name__).lower()
        met[name] += 1
        made.append(name if met[name] == 1 else f"{name}_{met[name]}")
    return made
