"""Tokenise text once: each document's tokens within its frame, as one array per split that is mapped from disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path

import numpy as np

from components.core.errors import UserError
from components.corpus.arrays import Array
from components.corpus.clean import glimpse
from components.corpus.encoders import Encode, encoder_of
from components.corpus.framing import Frame, frame_of
from components.corpus.records import Tick
from components.corpus.store import Meta
from components.corpus.texts import SPLITS, ends_of, read_texts
from components.corpus.tokens import Tokens, read_tokenizer

BATCH = 1_000_000  # characters given to the library at once
TOKENS, STARTS = "tokens.npy", "starts.npy"  # of a stretch


@dataclass(frozen=True)
class Stretch:
    """Documents of a split that are tokenised together: those from ``first`` to before ``last``."""

    split: str
    first: int
    last: int


def stretches(texts: Path, size: int) -> list[Stretch]:
    """All documents in stretches of about ``size`` bytes of text, in order."""
    made = []
    for split in SPLITS:
        ends = ends_of(texts, split)
        whole = int(ends[-1]) if len(ends) else 0
        cuts = np.searchsorted(ends, np.arange(1, -(-whole // size)) * size, side="right").tolist()
        made += [Stretch(split, a, b) for a, b in pairwise([0, *cuts, len(ends)]) if a < b]
    return made


def require_end(tokenizer: Tokens) -> None:
    """UserError if a tokenizer has no token that ends a document."""
    if "endoftext" not in tokenizer.specials:
        raise UserError(
            "tokenizer",
            "has no token that ends a document",
            "add one named <|endoftext|>, or name an eos_token in special_tokens_map.json",
        )


def tokenise(folder: Path, tick: Tick, texts: Path, stretch: Stretch, trained: Path, encode: Encode | None) -> Meta:
    """Write the tokens of a stretch and where its documents start in them. Returns how many tokens there are, and how many unknown ones.

    Args:
        folder: an empty one.
        tick: told how many more documents are done.
        texts: the folder of the text.
        stretch: the documents.
        trained: the folder of the trained tokenizer.
        encode: the tokenizer's own way, with the ids of its file; None: the file's.
    """
    tokenizer = read_tokenizer(trained / "tokenizer.json")
    encode = encode or encoder_of(tokenizer)
    unknown = tokenizer.specials.get("unk", -1)
    if unknown == tokenizer.specials["endoftext"]:
        unknown = -1  # as GPT-2 has it: bytes leave nothing unknown
    frame = frame_of(tokenizer)
    around = len(frame.before) + len(frame.after)
    n_unknown = 0
    with ExitStack() as stack:
        tokens, starts = (
            Array(stack, folder / name, dtype) for name, dtype in ((TOKENS, dtype_of(tokenizer)), (STARTS, np.dtype("<i8")))
        )
        for batch in _batches(read_texts(texts, stretch.split, stretch.first, stretch.last), BATCH):
            rows = encode(batch)
            lengths = np.fromiter((len(r) + around for r in rows), dtype=np.int64, count=len(rows))
            ids = _joined(rows, frame, lengths)
            if len(ids) and int(ids.max()) >= tokenizer.vocab_size:
                for row, text in zip(rows, batch):
                    tokenizer.need_rows(row, f"the document {glimpse(text)}")
                tokenizer.need_rows((*frame.before, *frame.after), "the frame of every document")
            n_unknown += int(np.count_nonzero(ids == unknown)) if unknown >= 0 else 0
            _require_own_ends(ids, tokenizer, frame, len(rows))
            starts.add(tokens.size + np.cumsum(lengths) - lengths)
            tokens.add(ids)
            tick(len(rows))
        return {"n_tokens": tokens.size, "n_unknown": n_unknown}


def join(folder: Path, tokenizer: Tokens, pieces: Sequence[tuple[Stretch, Path, Meta]]) -> Meta:
    """Put the tokens of all stretches together. Returns what to remember: the hash of all tokens, their number, that of unknown ones."""
    # the vocabulary and not the file, whose form changes with releases of the library
    vocabulary = sorted(tokenizer.core.get_vocab(with_added_tokens=True).items())
    whole = hashlib.blake2b(json.dumps(vocabulary).encode(), digest_size=16)
    for split in SPLITS:
        with ExitStack() as stack:
            tokens = Array(stack, folder / f"{split}.npy", dtype_of(tokenizer))
            starts = Array(stack, folder / f"{split}.starts.npy", np.dtype("<i8"))
            for place in (place for stretch, place, _ in pieces if stretch.split == split):
                starts.add(np.load(place / STARTS) + tokens.size)
                whole.update(tokens.add(np.load(place / TOKENS)))
    return {"hash": whole.hexdigest(), **{n: sum(meta[n] for _, _, meta in pieces) for n in ("n_tokens", "n_unknown")}}


def dtype_of(tokenizer: Tokens) -> np.dtype:
    """The type of a token on disk."""
    return np.dtype("<u2" if tokenizer.vocab_size <= 2**16 else "<u4")


def _joined(rows: Sequence[Sequence[int]], frame: Frame, lengths: np.ndarray) -> np.ndarray:
    """One array: each row in its frame."""
    starts = np.cumsum(lengths) - lengths
    made = np.empty(int(lengths.sum()), np.int64)
    inner = np.ones(len(made), bool)
    for ids, first in ((frame.before, starts), (frame.after, starts + lengths - len(frame.after))):
        for i, token in enumerate(ids):
            made[first + i] = token
            inner[first + i] = False
    made[inner] = np.fromiter(chain.from_iterable(rows), np.int64, count=int(inner.sum()))
    return made


def _require_own_ends(block: np.ndarray, tokenizer: Tokens, frame: Frame, documents: int) -> None:
    """Check that no text produces the id that marks where documents begin and end."""
    around = (*frame.before, *frame.after)
    for token in {frame.mark, frame.end}:
        if int(np.count_nonzero(block == token)) != documents * around.count(token):
            raise UserError(
                "tokenizer",
                f"reads ordinary text as {tokenizer.core.id_to_token(token)!r}, the token that ends a document",
                "use a token that no text contains",
            )


def _batches(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    """Lists of about ``size`` characters. The lists are short because the library keeps many times a batch's text in memory."""
    batch: list[str] = []
    held = 0
    for text in texts:
        batch.append(text)
        held += len(text)
        if held >= size:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def describe_loss(tokenizer: Tokens, texts: Path, made: Meta, sample: int = 200) -> list[str]:
    """Lines for the report if text does not come back exactly: bits per byte then have no meaning."""
    documents = [*islice(read_texts(texts, "validation"), sample), *islice(read_texts(texts, "train"), sample)]
    exact = sum(tokenizer.decode(ids) == text for ids, text in zip(tokenizer.encode_batch(documents), documents))
    lines = []
    if made["n_unknown"]:
        share = made["n_unknown"] / made["n_tokens"]
        lines.append(f"{made['n_unknown']} tokens are {tokenizer.roles['unk']} ({share:.2%}): what stood there is lost")
    if exact < len(documents):
        lines.append(
            f"the tokenizer gives back {exact} of {len(documents)} sampled documents exactly: bits per byte are not comparable"
        )
    return lines
