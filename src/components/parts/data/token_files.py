"""Token files of nanoGPT, llm.c and Megatron-LM: https://github.com/karpathy/nanoGPT, https://github.com/karpathy/llm.c,
https://github.com/NVIDIA/Megatron-LM
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from components.core.errors import UserError
from components.core.makers import Maker, make
from components.core.registry import register
from components.core.signature import Path
from components.corpus.contents import hash_of
from components.corpus.document import Document
from components.corpus.shards import SIZE, Shard
from components.corpus.store import key_of
from components.corpus.tokens import Tokens
from components.parts.data._files import files_of
from components.parts.data._token_formats import TokenFile, opened, spans

CUT = 2048  # ids of a document where nothing says where one ends
BATCH = 200_000  # ids that are turned into text in one go


@register("data", "token_files")
class TokenFiles:
    """Corpora that were tokenised elsewhere: nanoGPT's and llm.c's ``.bin``, Megatron's ``.bin`` with its ``.idx``, known by their headers.

    The ids are turned back into text by the tokenizer that made them, so any model reads them, with any tokenizer; with the same one it gets the
    same ids. A document ends where that tokenizer's end of text stands, or where the index says. A file without either is cut.

    Args:
        path: a file, a folder (searched for ``.bin``) or a pattern.
        tokenizer: the one that made the ids.
        dtype: of an id, in a file without a header; auto: what the header says, else uint16.
    """

    provides = ("text",)

    def __init__(
        self,
        *,
        path: Path,
        tokenizer: Maker["tokenizer"],
        dtype: Literal["auto", "uint8", "uint16", "uint32", "int32"] = "auto",
    ) -> None:
        self.path, self.dtype = os.path.expanduser(path), dtype
        self.tokenizer: Tokens = make(tokenizer, "tokenizer")
        try:
            self.end: int = self.tokenizer.specials["endoftext"]
        except RuntimeError:  # one that is to be trained says so
            raise ValueError(
                "tokenizer is one that is not trained: choose that which made the files, such as pretrained"
            ) from None
        except KeyError:
            raise ValueError("tokenizer has no token that ends a text") from None
        self.notes: list[str] = []

    def files(self) -> list[TokenFile]:
        """What ``path`` names, sorted."""
        return [opened(file, self.dtype) for file in files_of(self.path, {".bin"}, "token file")]

    def fingerprint(self) -> str:
        files = [f for held in self.files() for f in (held.file, held.index) if f is not None]
        return key_of("token_files", self.dtype, self.tokenizer.fingerprint(), hash_of(f.resolve() for f in files))

    def documents(self) -> Iterator[Document]:
        for shard in self.shards(SIZE):
            yield from shard.documents()

    def shards(self, size: int) -> Sequence[Shard]:
        """Stretches of files that end with a document."""
        return [shard for held in self.files() for shard in self._of(held, size)]

    def _of(self, held: TokenFile, size: int) -> Iterator[Shard]:
        cut = held.index is None and not (held.ids()[:10_000_000] == self.end).any()
        if cut:
            each = max(1, size // np.dtype(held.dtype).itemsize // CUT) * CUT
            stretches = ((i, min(i + each, held.count)) for i in range(0, held.count, each))
        else:
            stretches = spans(held, self.end, size)
        yield from (Stretch(held, first, last, cut, self.tokenizer, self.end) for first, last in stretches)


@dataclass
class Stretch:
    """Ids ``first`` to before ``last`` of a file; with an index, these documents. ``cut``: nothing says where a document ends."""

    held: TokenFile
    first: int
    last: int
    cut: bool
    tokenizer: Tokens
    end: int
    notes: Sequence[str] = ()

    def documents(self) -> Iterator[Document]:
        places: list[int] = []
        rows: list[list[int]] = []
        count = 0
        for place, ids in self._rows():
            places.append(place)
            rows.append(ids.tolist())
            count += len(ids)
            if count >= BATCH:
                yield from self._texts(places, rows)
                places, rows, count = [], [], 0
        yield from self._texts(places, rows)

    def _rows(self) -> Iterator[tuple[int, np.ndarray]]:
        """(place of the first id, ids) of each document that has some, without what marks its end."""
        ids = self.held.ids()
        if self.held.index is not None:
            bounds = self.held.starts(self.first, self.last).tolist()
        elif self.cut:
            bounds = [*range(self.first, self.last, CUT), self.last]
        else:
            ends = np.flatnonzero(ids[self.first : self.last] == self.end) + self.first
            bounds = [self.first, *(ends + 1).tolist(), self.last]
        for start, stop in pairwise(bounds):
            row = np.asarray(ids[start:stop])
            row = row[row != self.end]
            if len(row):
                yield start, row

    def _texts(self, places: list[int], rows: list[list[int]]) -> Iterator[Document]:
        size = self.tokenizer.vocab_size
        for place, row in zip(places, rows):
            if (most := max(row)) >= size or min(row) < 0:
                what = f"has the id {most}, and its tokenizer has {size:,} ids"
                raise UserError(
                    f"{self.held.file}[{place}]", what, "data.tokenizer names that which made it, data.dtype the type of an id"
                )
        for place, text in zip(places, self.tokenizer.core.decode_batch(rows, skip_special_tokens=False)):
            yield Document(text, f"{self.held.file}[{place}]")
