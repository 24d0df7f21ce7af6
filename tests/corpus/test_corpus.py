"""Documents in, a corpus out: nothing shared between splits, made once, never half."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from components import build
from components.core.errors import UserError
from components.corpus import Document, prepare
from components.corpus.store import key_of


@dataclass
class Made:
    """A source in memory that counts how often it is read."""

    texts: list[str]
    reads: int = 0
    notes: list[str] = field(default_factory=list)

    def documents(self) -> Iterator[Document]:
        self.reads += 1
        yield from (Document(t, f"text {i}") for i, t in enumerate(self.texts))

    def fingerprint(self) -> str:
        return key_of(self.texts)


TEXTS = [f"document number {i}: été 東京 {'x' * (i % 7)}" for i in range(300)]


def bpe():
    return build("tokenizer", "bpe", vocab_size=300)


def test_stream_is_endoftext_and_tokens_of_each_document(tmp_path):
    corpus = prepare(Made(TEXTS), bpe(), cache=tmp_path, validation=0.2, test=0.1)
    end = corpus.tokenizer.specials["endoftext"]
    texts = []
    for split in (corpus.train, corpus.validation, corpus.test):
        assert isinstance(split.tokens, np.memmap)
        assert split.tokens.dtype == np.uint16
        assert np.array_equal(np.flatnonzero(split.tokens == end), split.starts)
        rows = np.split(np.asarray(split.tokens), split.starts[1:])
        decoded = [corpus.tokenizer.decode(row[1:]) for row in rows]
        assert decoded == list(corpus.text(split.name))
        assert split.n_bytes == sum(len(t.encode()) for t in decoded)
        assert split.n_documents == len(decoded) > 10
        texts += decoded
    assert sorted(texts) == sorted(TEXTS)


def test_more_documents_move_no_other(tmp_path):
    few = prepare(Made(TEXTS[:200]), bpe(), cache=tmp_path, validation=0.2, test=0.1)
    more = prepare(Made(["first", *TEXTS]), bpe(), cache=tmp_path, validation=0.2, test=0.1)
    for split in ("train", "validation", "test"):
        assert set(few.text(split)) <= set(more.text(split))
    other = prepare(Made(TEXTS), bpe(), cache=tmp_path, validation=0.2, test=0.1, seed=1)
    assert set(other.text("validation")) != set(more.text("validation"))


def test_share_of_each_split_is_as_asked(tmp_path):
    corpus = prepare(Made([str(i) for i in range(4000)]), build("tokenizer", "byte"), cache=tmp_path, validation=0.1, test=0.2)
    assert abs(corpus.validation.n_documents - 400) < 80
    assert abs(corpus.test.n_documents - 800) < 110


def test_second_time_reads_nothing_again(tmp_path, monkeypatch):
    source = Made(TEXTS)
    first = prepare(source, bpe(), cache=tmp_path)
    trained = []
    monkeypatch.setattr("components.parts.tokenizer.bpe.BPE.train", lambda *_: trained.append(1))
    second = prepare(source, bpe(), cache=tmp_path)
    assert (source.reads, trained) == (1, [])
    assert second.hash == first.hash
    assert second.report == first.report
    assert np.array_equal(second.train.tokens, first.train.tokens)


def test_another_tokenizer_reads_the_source_no_second_time(tmp_path):
    source = Made(TEXTS)
    a = prepare(source, bpe(), cache=tmp_path)
    b = prepare(source, build("tokenizer", "bpe", vocab_size=280), cache=tmp_path)
    assert source.reads == 1
    assert a.hash != b.hash
    assert (a.tokenizer.vocab_size, b.tokenizer.vocab_size) == (300, 280)


def test_a_tokenizer_that_was_read_is_used_as_it_is(tmp_path):
    trained = prepare(Made(TEXTS), bpe(), cache=tmp_path)
    other = prepare(Made(TEXTS[::-1]), trained.tokenizer, cache=tmp_path)
    assert other.tokenizer.core.to_str() == trained.tokenizer.core.to_str()
    assert other.tokenizer.fingerprint() == trained.tokenizer.fingerprint() == trained.tokenizer.fingerprint()


def test_hash_is_of_content_alone(tmp_path):
    a = prepare(Made(TEXTS), bpe(), cache=tmp_path / "a")
    b = prepare(Made(TEXTS), bpe(), cache=tmp_path / "b")
    assert a.hash == b.hash
    assert a.hash != prepare(Made(TEXTS[1:]), bpe(), cache=tmp_path / "a").hash


def test_tokenizer_sees_the_training_split_alone(tmp_path):
    corpus = prepare(Made(TEXTS), build("tokenizer", "char"), cache=tmp_path, validation=0.3)
    seen: list[str] = []
    tokenizer = build("tokenizer", "char")
    fitted = tokenizer.fitted
    tokenizer.fitted = lambda texts: fitted(seen.extend(texts) or seen)  # type: ignore[func-returns-value]
    prepare(Made(TEXTS), tokenizer, cache=tmp_path / "other", validation=0.3)
    assert seen == list(corpus.text("train"))
    assert not set(seen) & set(corpus.text("validation"))


def test_large_vocabularies_take_uint32(tmp_path):
    vocab = {token: i for i, token in enumerate(("<|endoftext|>", "<|unk|>", *map(str, range(2**16))))}
    core = Tokenizer(WordLevel(vocab, unk_token="<|unk|>"))
    core.pre_tokenizer = Whitespace()
    core.save(str(tmp_path / "tokenizer.json"))
    corpus = prepare(
        Made([*TEXTS, "65535"]), build("tokenizer", "pretrained", path=str(tmp_path)), cache=tmp_path, validation=0
    )
    assert corpus.train.tokens.dtype == np.uint32
    assert corpus.train.tokens[-1] == 2 + 65535


def test_pieces_of_one_document_stay_in_one_split(tmp_path):
    texts = [f"{i} " + " ".join(f"{i}w{j}" for j in range(200)) for i in range(100)]
    corpus = prepare(Made(texts), bpe(), cache=tmp_path, validation=0.3, max_chars=300)
    assert corpus.report.counts["over_long"] == 100
    owners = {split: {t.split("w")[0].split()[-1] for t in corpus.text(split)} for split in ("train", "validation")}
    assert not owners["train"] & owners["validation"]
    assert sum(len(t) for s in ("train", "validation") for t in corpus.text(s)) == sum(map(len, texts))


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "the source gave none"),
        (["", "  "], "2 empty"),
        (["a\udce9b"], "byte 0xe9"),
        (["one"], "validation split empty"),
        (["one", "one"], "1 documents"),
    ],
)
def test_nothing_left_is_said(tmp_path, texts, words):
    with pytest.raises(UserError, match=words):
        prepare(Made(texts), bpe(), cache=tmp_path)


def test_a_cache_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cache cannot be written"):
        prepare(Made(TEXTS), bpe(), cache=tmp_path / "file")


def test_shares_that_leave_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"validation=0\.6 and test=0\.4"):
        prepare(Made(TEXTS), bpe(), cache=tmp_path, validation=0.6, test=0.4)


def test_progress_reaches_its_end(tmp_path):
    seen: list[tuple[str, int, int | None]] = []
    prepare(Made(TEXTS), bpe(), cache=tmp_path, progress=lambda *a: seen.append(a))
    n = len(np.load(next(tmp_path.glob("texts/*/train.ends.npy"))))
    last = {what: (done, total) for what, done, total in seen}
    assert last == {"reading text": (300, 300), "training the tokenizer": (n, n), "tokenising": (300, 300)}


def test_a_handful_of_documents_still_holds_one_out(tmp_path):
    corpus = prepare(Made(["one", "two", "three"]), build("tokenizer", "byte"), cache=tmp_path, validation=0.01)
    assert (corpus.train.n_documents, corpus.validation.n_documents) == (2, 1)
    assert "one was held out" in "\n".join(corpus.report.lines())


KILLED = """
import sys, time
from pathlib import Path
from components.corpus import Document, prepare
from components import build
class Slow:
    notes = []
    def fingerprint(self): return "slow"
    def documents(self):
        for i in range(300):
            yield Document(f"document {i}", "made")
def progress(what, done, total):
    if what == sys.argv[2]:
        print("there", flush=True)
        time.sleep(60)
prepare(Slow(), build("tokenizer", "byte"), cache=sys.argv[1], progress=progress)
"""


class Slow(Made):
    def fingerprint(self) -> str:
        return "slow"


@pytest.mark.parametrize("step", ["reading text", "tokenising"])
def test_what_a_killed_process_leaves_is_not_used(tmp_path, step):
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), step], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"there\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    left = list(tmp_path.rglob("*.tmp-*"))
    assert left, "the process was killed too late to leave anything"
    corpus = prepare(Slow([f"document {i}" for i in range(300)]), build("tokenizer", "byte"), cache=tmp_path)
    assert corpus.report.kept == 300
    assert len(corpus.train.tokens) + len(corpus.validation.tokens) == sum(len(f"document {i}") + 1 for i in range(300))
    for folder in left:  # after a day they are swept away
        for held in (*folder.iterdir(), folder):
            os.utime(held, (time.time() - 2e5,) * 2)
    prepare(Made(TEXTS), bpe(), cache=tmp_path)
    assert not any(folder.exists() for folder in left)


@pytest.mark.parametrize("name", ["train.npy", "tokenizer.json", "meta.json"])
def test_a_damaged_cache_is_made_again(tmp_path, name):
    source = Made(TEXTS)
    first = prepare(source, bpe(), cache=tmp_path)
    file = next(tmp_path.glob(f"tokens/*/{name}"))
    expected = np.array(first.train.tokens)
    file.write_bytes(file.read_bytes()[:-10])
    again = prepare(source, bpe(), cache=tmp_path)
    assert again.hash == first.hash
    assert np.array_equal(again.train.tokens, expected)


def _prepare(cache: Path, queue) -> None:
    corpus = prepare(Made(TEXTS), build("tokenizer", "unigram", vocab_size=300), cache=cache)
    queue.put((corpus.hash, int(np.asarray(corpus.train.tokens, dtype=np.int64).sum())))


def test_two_processes_prepare_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_prepare, args=(tmp_path, queue)) for _ in range(2)]
    for w in workers:
        w.start()
    results = [queue.get(timeout=60) for _ in workers]
    for w in workers:
        w.join()
    assert results[0] == results[1]
    assert not list(tmp_path.rglob("*.tmp-*"))
