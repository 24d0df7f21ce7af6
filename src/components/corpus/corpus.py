"""``prepare``: a source and a tokenizer become a ``Corpus`` mapped from disk, made once for the same text and settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from components.core.contracts import complete
from components.corpus.arrays import mapped
from components.corpus.clean import Report
from components.corpus.document import Document
from components.corpus.framing import Frame, frame_of
from components.corpus.making import clear, write_texts, write_tokens
from components.corpus.sources import Sources
from components.corpus.store import Meta, build, key_of, require_sound
from components.corpus.texts import SPLITS, Cleaning, Progress, read_texts, require_splits
from components.corpus.tokens import Tokens, read_tokenizer

FORMAT = 2  # of what lies in the cache
TOKENS = 2  # of its tokens alone: what stands around each document


class Source(Protocol):
    """A data part. ``notes`` go into the report."""

    notes: Sequence[str]

    def documents(self) -> Iterator[Document]: ...
    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class Split:
    """One split: documents one after the other, each within its frame.

    Args:
        name: train, validation or test.
        tokens: (N,) uint16 or uint32, mapped from disk.
        starts: (n_documents,) where each document starts in ``tokens``.
        n_bytes: the size of these documents' text in UTF-8.
        frame: the tokens around each document.
    """

    name: str
    tokens: np.ndarray = field(repr=False)
    starts: np.ndarray = field(repr=False)
    n_bytes: int
    frame: Frame

    @property
    def n_documents(self) -> int:
        return len(self.starts)

    def __reduce__(self) -> tuple[object, ...]:
        # another process maps the file again: pickled, the array would be copied into every worker
        if isinstance(self.tokens, np.memmap) and self.tokens.filename is not None:
            return _open, (Path(self.tokens.filename).parent, self.name, self.n_bytes, self.frame)
        return Split, (self.name, self.tokens, self.starts, self.n_bytes, self.frame)


@dataclass(frozen=True)
class Corpus:
    """Three splits that share no document, their tokenizer, the report of cleaning, and a hash of all tokens. ``sources``: of the tokens of ``train``,
    where the data are a mixture."""

    train: Split
    validation: Split
    test: Split
    tokenizer: Tokens
    report: Report
    hash: str
    texts: Path = field(repr=False, default=Path())
    folder: Path = field(repr=False, default=Path())
    sources: Sources | None = field(repr=False, default=None)

    @property
    def tokens(self) -> dict[str, int]:
        """The number of tokens by split."""
        return {split.name: len(split.tokens) for split in (self.train, self.validation, self.test)}

    def text(self, split: str) -> Iterator[str]:
        """The documents of a split as text, for text metrics and samples."""
        require_sound(self.texts, f"{split}.txt", f"{split}.ends.npy")
        return read_texts(self.texts, split)


def prepare(
    source: Source,
    tokenizer: Any,
    *,
    cache: str | Path,
    validation: float = 0.05,
    test: float = 0.0,
    max_chars: int = 100_000,
    near_duplicates: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Corpus:
    """Clean, split and tokenise, or open what an earlier call with the same text and settings made.

    The tokenizer is trained only on the training split. A hash of a document's text and ``seed`` decides its split. A large corpus is made by
    several processes (``work.asking`` says how many, or which share of it), and what one finished stays if it is killed. What comes out does not
    depend on their number.

    Args:
        source: a data part.
        tokenizer: a tokenizer part; the corpus has its own copy, read back from the saved file.
        cache: a folder that processes may share.
        validation: share of documents.
        test: share of documents.
        max_chars: longer documents are cut into pieces, which stay in one split.
        near_duplicates: how alike two documents are (Jaccard of five words in a row) of which the later one is left out; needs datasketch.
        seed: of the split.
        progress: called as ``progress(what, done, total or None)``.

    Raises:
        UserError: nothing left to train or validate on, a cache that cannot be written, and what the source raises.
        Unfinished: a share was asked, and others are missing.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ValueError(f"validation={validation} and test={test} must leave something to train on")
    if max_chars < 1:
        raise ValueError(f"max_chars={max_chars} must be at least 1")
    complete(source, "data")  # one from Python may say nothing of notes and labels
    cache = Path(cache).expanduser()
    progress = progress or _silent
    cleaning = Cleaning(seed, validation, test, max_chars, near_duplicates)
    settings = [FORMAT, cleaning.key()]
    texts = cache / "texts" / key_of(type(source).__qualname__, source.fingerprint(), *settings)

    def fill_texts(folder: Path) -> Meta:
        report, meta = write_texts(folder, source, cleaning, progress, texts)
        require_splits(report, validation)
        return {**meta, "report": report.to_dict()}

    # the text's own hash, so that the same text from elsewhere is not tokenised again
    known = build(texts, fill_texts, sums=False)  # looked at where they are read
    tokens = cache / "tokens" / key_of(known["text_hash"], *settings, TOKENS, tokenizer.fingerprint())

    def fill_tokens(folder: Path) -> Meta:
        build(texts, fill_texts)
        return write_tokens(folder, texts, tokenizer, known["n_documents"], progress, tokens)

    clear(texts)
    made = build(tokens, fill_tokens)
    clear(tokens)
    report = Report(**known["report"])
    report.notes = [*report.notes, *made["notes"]]
    own = read_tokenizer(tokens / "tokenizer.json")
    splits = {s: _open(tokens, s, known["n_bytes"][s], frame_of(own)) for s in SPLITS}
    train, names = splits["train"], known.get("sources")
    sources = None if names is None else Sources(names, texts, train.starts, len(train.tokens))
    return Corpus(**splits, tokenizer=own, report=report, hash=made["hash"], texts=texts, folder=tokens, sources=sources)


def _open(folder: Path, split: str, n_bytes: int, frame: Frame) -> Split:
    tokens, starts = mapped(folder / f"{split}.npy"), np.asarray(mapped(folder / f"{split}.starts.npy"))
    return Split(split, tokens, starts, n_bytes, frame)


def _silent(what: str, done: int, total: int | None) -> None:
    """Shows no progress."""
