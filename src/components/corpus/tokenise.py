"""Tokenise text once: each document's tokens within its frame, as one array per split that is mapped from disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from components.core.errors import UserError
from components.corpus.framing import Frame, frame_of
from components.corpus.store import Meta
from components.corpus.texts import SPLITS, Progress, read_texts
from components.corpus.tokens import Tokens

BATCH = 1_000_000  # characters given to the library at once
Encode = Callable[[list[str]], list[list[int]]]
HEADER = 128  # bytes of an .npy header of one dimension


def write_tokens(
    folder: Path, texts: Path, tokenizer: Tokens, encode: Encode, counts: dict[str, int], progress: Progress
) -> Meta:
    """Tokenise every split of ``texts`` into ``folder``. Returns what to remember: the hash of all tokens, the number of unknown
    ones."""
    if "endoftext" not in tokenizer.specials:
        raise UserError(
            "tokenizer",
            "has no token that ends a document",
            "add one named <|endoftext|>, or name an eos_token in special_tokens_map.json",
        )
    dtype = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
    # the vocabulary and not the file, whose form changes with releases of the library
    vocabulary = sorted(tokenizer.core.get_vocab(with_added_tokens=True).items())
    whole = hashlib.blake2b(json.dumps(vocabulary).encode(), digest_size=16)
    unknown = tokenizer.specials.get("unk", -1)
    if unknown == tokenizer.specials["endoftext"]:
        unknown = -1  # as GPT-2 has it: bytes leave nothing unknown
    frame = frame_of(tokenizer)
    n_unknown = n_tokens = done = 0
    total = sum(counts.values())
    for split in SPLITS:
        starts = []
        at = 0
        with (folder / f"{split}.npy").open("wb") as f:
            f.write(bytes(HEADER))
            for batch in _batches(read_texts(texts, split), BATCH):
                rows = encode(batch)
                around = len(frame.before) + len(frame.after)
                lengths = np.fromiter((len(r) + around for r in rows), dtype=np.int64, count=len(rows))
                ids = _joined(rows, frame, lengths)
                if len(ids) and int(ids.max()) >= tokenizer.vocab_size:
                    for row, text in zip(rows, batch):
                        tokenizer.need_rows(row, f"the document {_glimpse(text)}")
                    tokenizer.need_rows((*frame.before, *frame.after), "the frame of every document")
                block = ids.astype(dtype)
                starts.append(at + np.cumsum(lengths) - lengths)
                at += len(block)
                n_unknown += int(np.count_nonzero(block == unknown)) if unknown >= 0 else 0
                _require_own_ends(block, tokenizer, frame, len(rows))
                data = block.tobytes()
                whole.update(data)
                f.write(data)
                done += len(rows)
                progress("tokenising", done, total)
            f.seek(0)
            np.lib.format.write_array_header_1_0(f, {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (at,)})
            assert f.tell() == HEADER
        np.save(folder / f"{split}.starts.npy", np.concatenate(starts) if starts else np.zeros(0, dtype=np.int64))
        n_tokens += at
    return {"hash": whole.hexdigest(), "n_tokens": n_tokens, "n_unknown": n_unknown}


def _joined(rows: list[list[int]], frame: Frame, lengths: np.ndarray) -> np.ndarray:
    """One array: each row in its frame."""
    before, after = frame.before, frame.after
    return np.fromiter((i for row in rows for i in (*before, *row, *after)), dtype=np.int64, count=int(lengths.sum()))


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


def _glimpse(text: str, width: int = 40) -> str:
    line = " ".join(text[: 2 * width].split())
    return repr(line if len(line) <= width else line[: width - 1] + "…")


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
