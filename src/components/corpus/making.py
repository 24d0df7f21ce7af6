"""Making the text and the tokens of a corpus: piece by piece, each by one process, then put together.

Reading: each shard of the source becomes segments (``segments``). Their duplicates are found (``duplicates``), and the rest becomes the text
(``assembly``). Tokenising: the text is divided again, whatever the source was, and the tokens of each stretch follow one another (``tokenise``).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from components.corpus.assembly import Assembly
from components.corpus.clean import Report
from components.corpus.duplicates import Repeated, find_repeated, parts_of
from components.corpus.near_duplicates import Groups, bands_of, find_alike
from components.corpus.segments import digests_of, read_shard, signatures_of
from components.corpus.shards import Shard, shards_of
from components.corpus.store import Meta, build
from components.corpus.texts import SPLITS, Cleaning, Progress, read_texts
from components.corpus.tokenise import describe_loss, join, require_end, stretches, tokenise
from components.corpus.tokens import read_tokenizer
from components.corpus.work import Work, asked


class Learns(Protocol):
    """A tokenizer part, or a trained tokenizer."""

    def train(self, texts: Iterable[str], /) -> None: ...
    def save(self, file: Path, /) -> None: ...


FINER = 4  # tokenising takes ten times as long as reading: smaller pieces leave fewer processes idle at the end
PIECES = 2  # what lies in a piece: those of another release are not gone on with
HERE = "pieces"  # of a small corpus: a folder within the unfinished one


def write_texts(folder: Path, source: Shard, cleaning: Cleaning, progress: Progress, final: Path) -> tuple[Report, Meta]:
    """Clean, split and write; the report, and what to remember: hash of all text, bytes and documents by split.

    Args:
        folder: an empty one.
        source: the documents.
        cleaning: the settings.
        progress: told.
        final: what the folder will be called, which gives the pieces a place.
    """
    with Work(asked(), _pieces(final)) as work:
        bands = None if cleaning.near_duplicates is None else bands_of(cleaning.near_duplicates)
        shards = shards_of(source, work.asked.size)
        here = folder / HERE if len(shards) == 1 and work.asked.share is None else None
        read = work.each("read", read_shard, [(s, cleaning) for s in shards], _Count("reading text", None, progress), here)
        total = sum(meta["read"] for _, meta in read)
        progress("reading text", total, total)
        digests = [digests_of(place, i) for place, meta in read for i in range(len(meta["segments"]))]
        parts = parts_of(sum(sum(meta["segments"]) for _, meta in read)) if len(digests) > 1 else 0
        tasks = [(digests, part, parts) for part in range(parts)]
        found = work.each("repeated", find_repeated, tasks, _unseen, folder / HERE / "repeated" if parts <= 1 else None)
        alike = None
        if bands is not None:
            signatures = [signatures_of(place, i) for place, meta in read for i in range(len(meta["segments"]))]
            tasks = [(signatures, bands, band) for band in range(bands.count)]
            pairs = work.each("alike", find_alike, tasks, _unseen, None if here is None else folder / HERE / "alike")
            alike = Groups([place for place, _ in pairs], signatures).write(folder / HERE / "near")
        report, meta = Assembly(read, Repeated([place for place, _ in found]), cleaning, alike).write(folder)
        shutil.rmtree(folder / HERE, ignore_errors=True)
    return report, meta


def write_tokens(folder: Path, texts: Path, tokenizer: Learns, counts: dict[str, int], progress: Progress, final: Path) -> Meta:
    """Train the tokenizer, and tokenise every split of ``texts`` into ``folder``. Returns what to remember.

    Args:
        folder: an empty one.
        texts: the folder of the text.
        tokenizer: a tokenizer part.
        counts: documents by split.
        progress: told.
        final: what the folder will be called, which gives the pieces a place.
    """
    with Work(asked(), _pieces(final)) as work:
        size = sum((texts / f"{split}.txt").stat().st_size for split in SPLITS)
        here = folder / HERE if size <= work.asked.size and work.asked.share is None else None

        def train(to: Path) -> Meta:
            tokenizer.train(_Counted(texts, counts["train"], progress))
            tokenizer.save(to / "tokenizer.json")
            return {}

        trained = folder if here is not None else work.pieces / "tokenizer"
        train(folder) if here is not None else build(trained, train)
        made = read_tokenizer(trained / "tokenizer.json")
        require_end(made)
        # a part may be faster than its file, with the same ids; another process knows the file alone
        encode = getattr(tokenizer, "encode_batch", None) if here is not None else None
        tasks = stretches(texts, max(1, work.asked.size // FINER))
        done = work.each(
            "tokens",
            tokenise,
            [(texts, stretch, trained, encode) for stretch in tasks],
            _Count("tokenising", sum(counts.values()), progress),
            here,
        )
        meta = join(folder, made, [(stretch, place, meta) for stretch, (place, meta) in zip(tasks, done)])
        shutil.rmtree(folder / HERE, ignore_errors=True)
        made.save(folder / "tokenizer.json")
    return {**meta, "notes": describe_loss(made, texts, meta)}


def clear(final: Path) -> None:
    """Remove the pieces of a corpus that is finished."""
    Work(asked(), _pieces(final)).clear()


def _pieces(final: Path) -> Path:
    return final.parent.with_name("pieces") / f"{final.name}-{PIECES}"


class _Count:
    """Progress from what processes say."""

    def __init__(self, what: str, total: int | None, progress: Progress) -> None:
        self.what, self.total, self.progress, self.done = what, total, progress, 0

    def __call__(self, more: int) -> None:
        self.done += more
        self.progress(self.what, self.done, self.total)


class _Counted:
    """The training texts, read from disk at each iteration, with progress."""

    def __init__(self, texts: Path, total: int, progress: Progress) -> None:
        self.texts, self.total, self.progress = texts, total, progress

    def __iter__(self) -> Iterator[str]:
        for i, text in enumerate(read_texts(self.texts, "train")):
            if i % 256 == 0:
                self.progress("training the tokenizer", i, self.total)
            yield text
        self.progress("training the tokenizer", self.total, self.total)


def _unseen(more: int) -> None:
    """Shows nothing."""
    del more
