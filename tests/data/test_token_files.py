"""Token files of other programs, written here as those programs write them, come back as the text that they were made from."""

from __future__ import annotations

import pickle
import struct

import numpy as np
import pytest

from components import build
from components.core.errors import UserError
from components.corpus import prepare
from components.corpus.work import Asked, asking

TEXTS = [f"document number {i}: été 東京 {'word ' * (i % 40)}end" for i in range(200)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A trained tokenizer's folder, its ids of each text, and its end of text."""
    folder = tmp_path_factory.mktemp("tokenizer")
    made = build("tokenizer", "bpe", vocab_size=400)
    made.train(TEXTS)
    made.save(folder / "tokenizer.json")
    return {"name": "pretrained", "path": str(folder)}, [made.encode(t) for t in TEXTS], made.specials["endoftext"]


def nanogpt(file, rows, end):
    """data/openwebtext/prepare.py: the end of text after each document, in a memmap of uint16."""
    ids = [i for row in rows for i in (*row, end)]
    array = np.memmap(file, dtype=np.uint16, mode="w+", shape=(len(ids),))
    array[:] = ids
    array.flush()


def llmc(file, rows, end, *, llama=False):
    """dev/data/data_common.py, write_datafile: 256 int32, then the ids; the end of text before each document."""
    ids = [i for row in rows for i in (end, *row)]
    header = np.zeros(256, dtype=np.int32)
    header[:3] = (20240801, 7, len(ids)) if llama else (20240520, 1, len(ids))
    with open(file, "wb") as f:
        f.write(header.tobytes())
        f.write(np.array(ids, dtype=np.uint32 if llama else np.uint16).tobytes())


def megatron(file, rows, end, dtype=np.int32, code=4):
    """indexed_dataset.py: each document two sequences, the second with the end of text (--append-eod)."""
    sequences = [part for row in rows for part in (row[: len(row) // 2], [*row[len(row) // 2 :], end])]
    with open(file, "wb") as f:
        for sequence in sequences:
            f.write(np.array(sequence, dtype=dtype).tobytes())
    lengths = np.array([len(s) for s in sequences], dtype=np.int32)
    pointers = np.concatenate([[0], np.cumsum(lengths[:-1], dtype=np.int64) * np.dtype(dtype).itemsize]).astype(np.int64)
    documents = np.arange(0, len(sequences) + 1, 2, dtype=np.int64)
    with open(file.with_suffix(".idx"), "wb") as f:
        f.write(b"MMIDIDX\x00\x00" + struct.pack("<Q", 1) + struct.pack("<B", code))
        f.write(struct.pack("<Q", len(lengths)) + struct.pack("<Q", len(documents)))
        f.write(lengths.tobytes() + pointers.tobytes() + documents.tobytes())


WRITERS = {
    "nanogpt": nanogpt,
    "llmc": llmc,
    "llmc_llama": lambda *a: llmc(*a, llama=True),
    "megatron": megatron,
    "megatron_uint16": lambda *a: megatron(*a, np.uint16, 8),
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_text_comes_back_whatever_the_shards(tmp_path, tokenizer, name):
    chosen, rows, end = tokenizer
    WRITERS[name](tmp_path / "train.bin", rows, end)
    source = build("data", "token_files", path=str(tmp_path), tokenizer=chosen)
    documents = list(source.documents())
    assert [d.text for d in documents] == TEXTS
    assert len(source.shards(10**9)) == 1
    for size in (7, 500, 5000):
        shards = pickle.loads(pickle.dumps(source.shards(size)))
        assert len(shards) >= 3
        assert [d for shard in shards for d in shard.documents()] == documents
    place = int(documents[3].origin.removesuffix("]").rsplit("[", 1)[1])
    assert place == sum(len(r) + 1 for r in rows[:3]) + (name.startswith("llmc"))


@pytest.mark.parametrize("name", ["nanogpt", "megatron"])
def test_the_same_tokenizer_gives_the_same_ids(tmp_path, tokenizer, name):
    chosen, rows, end = tokenizer
    WRITERS[name](tmp_path / "train.bin", rows, end)
    source = build("data", "token_files", path=str(tmp_path / "train.bin"), tokenizer=chosen)
    with asking(Asked(2, None, 2000)):
        corpus = prepare(source, build("tokenizer", "pretrained", path=chosen["path"]), cache=tmp_path / "cache", validation=0)
    assert corpus.train.tokens.tolist() == [i for row in rows for i in (end, *row)]


def test_a_file_without_ends_is_cut(tmp_path, tokenizer):
    chosen, rows, _ = tokenizer
    ids = [i for row in rows for i in row] * 3
    np.array(ids, dtype=np.uint32).tofile(tmp_path / "a.bin")
    source = build("data", "token_files", path=str(tmp_path / "a.bin"), tokenizer=chosen, dtype="uint32")
    documents = list(source.documents())
    assert len(documents) == -(-len(ids) // 2048) > 5
    assert "".join(d.text for d in documents).replace("\ufffd", "")[:200] == "".join(TEXTS)[:200]
    assert [d for shard in source.shards(10_000) for d in shard.documents()] == documents


def test_a_mixture_of_token_files_and_text(tmp_path, tokenizer):
    chosen, rows, end = tokenizer
    nanogpt(tmp_path / "a.bin", rows[:100], end)
    megatron(tmp_path / "b.bin", rows[100:], end)
    (tmp_path / "c.txt").write_text("\n".join(f"line {i} of a text" for i in range(500)))
    parts = [{"name": "token_files", "path": str(tmp_path / f"{n}.bin"), "tokenizer": chosen} for n in "ab"]
    parts.append({"name": "text", "path": str(tmp_path / "c.txt"), "split_on": "lines"})
    found = [d.text for d in build("data", "mixed", parts=parts, weights=[2, 1, 1], by="documents").documents()]
    shares = [sum(t in of for t in found) for of in (set(TEXTS[:100]), set(TEXTS[100:]))]
    assert shares == [100, 50]
    assert len(found) == 200


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("short", "says that it holds"),
        ("odd", "no whole number of uint16"),
        ("index", "is no index of Megatron's"),
        ("index_short", "is cut short"),
        ("foreign", "has the id 40000, and its tokenizer has"),
        ("none", "has no token file"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, tokenizer, harm, words):
    chosen, rows, end = tokenizer
    file = tmp_path / "a.bin"
    llmc(file, rows, end) if harm == "short" else megatron(file, rows, end)
    if harm == "short":
        file.write_bytes(file.read_bytes()[:-10])
    elif harm == "odd":
        (tmp_path / "a.idx").unlink()
        file.write_bytes(b"123")
    elif harm == "index":
        (tmp_path / "a.idx").write_bytes(b"x" * 100)
    elif harm == "index_short":
        (tmp_path / "a.idx").write_bytes((tmp_path / "a.idx").read_bytes()[:-9])
    elif harm == "foreign":
        (tmp_path / "a.idx").unlink()
        np.array([5, 40000, end], dtype=np.uint16).tofile(file)
    else:
        file.rename(tmp_path / "a.tokens")
    with pytest.raises(UserError, match=words):
        list(build("data", "token_files", path=str(tmp_path), tokenizer=chosen).documents())


def test_a_tokenizer_that_is_not_trained_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is one that is not trained"):
        build("data", "token_files", path=str(tmp_path), tokenizer="bpe")
