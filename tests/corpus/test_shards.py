"""A corpus made from shards by processes is bit for bit what one pass makes, whatever their number, and whatever was killed on the way."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from sharded import Sharded, documents, in_one_pass

from components import build
from components.core.errors import UserError
from components.corpus import duplicates, near_duplicates, prepare, segments, texts, tokenise, work
from components.corpus.document import Document
from components.corpus.texts import Cleaning
from components.corpus.work import Asked, Unfinished, asking

CUTS = [0, 100, 101, 350, 600]  # the first shard has no document, and the third one alone
SHARES = {"validation": 0.2, "test": 0.1, "max_chars": 100}
# of the release before there were shards
HASH = "405b7db3de75d3c70249627cc8c664a6"


def tokenizer():
    return build("tokenizer", "bpe", vocab_size=300)


def made(source, cache, workers=None, share=None, size=2000, **options):
    with asking(Asked(workers, share, size)):
        return prepare(source, tokenizer(), cache=cache, **{**SHARES, **options})


def content(cache: Path, kind: str) -> dict[str, bytes]:
    """What lies in a finished folder but the sums."""
    (folder,) = (f for f in (cache / kind).iterdir() if ".tmp-" not in f.name)
    return {f.name: f.read_bytes() for f in folder.iterdir() if f.name != "meta.json"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What one process makes of the source as a whole."""
    cache = tmp_path_factory.mktemp("whole")
    return made(Sharded([]), cache), cache


def equal(corpus, cache, whole):
    expected, its = whole
    assert corpus.hash == expected.hash
    assert corpus.report == expected.report
    for kind in ("texts", "tokens"):
        assert content(cache, kind) == content(its, kind)


def test_one_process_makes_what_was_made_before_there_were_shards(whole):
    corpus, cache = whole
    report, texts, text_hash = in_one_pass(documents(), Cleaning(0, 0.2, 0.1, 100))
    report.notes = ["the first document was read"]
    assert corpus.report == report
    assert min(n for reason, n in report.counts.items() if reason in ("empty", "undecodable", "duplicates", "over_long")) > 20
    held = content(cache, "texts")
    for split, (text, ends) in texts.items():
        assert held[f"{split}.txt"] == text
        assert np.array_equal(np.load(next(cache.glob(f"texts/*/{split}.ends.npy"))), ends)
    assert text_hash in next(cache.glob("texts/*/meta.json")).read_text()
    assert corpus.hash == HASH


@pytest.mark.parametrize(("workers", "cuts"), [(1, CUTS), (2, CUTS), (3, CUTS), (2, [450]), (3, [*range(60, 900, 60)])])
def test_workers_and_shards_do_not_matter(tmp_path, whole, monkeypatch, workers, cuts):
    monkeypatch.setattr(duplicates, "DIGESTS", 100)  # several parts
    corpus = made(Sharded(cuts, str(tmp_path / "log")), tmp_path / "cache", workers)
    equal(corpus, tmp_path / "cache", whole)
    assert not [*(tmp_path / "cache" / "pieces").iterdir()], "what is finished leaves no pieces"
    assert len((tmp_path / "log").read_text().split()) == len(cuts) + 1


def test_segments_do_not_matter(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(segments, "DOCUMENTS", 13)
    monkeypatch.setattr(segments, "TEXT", 900)
    equal(made(Sharded([]), tmp_path), tmp_path, whole)


def test_a_source_of_a_script_is_read_here_and_tokenised_by_others(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(Sharded, "__module__", "__main__")
    monkeypatch.setattr("sharded.Piece.__module__", "__main__")
    corpus = made(Sharded(CUTS), tmp_path, 2)
    equal(corpus, tmp_path, whole)


@pytest.mark.parametrize("at", [100, 349, 899])
def test_what_a_killed_worker_finished_stays(tmp_path, whole, at):
    log = tmp_path / "log"
    with pytest.raises(UserError, match=r"was killed \(signal 9\); start again: what is finished stays"):
        made(Sharded(CUTS, str(log), kill=at), tmp_path / "cache", 1)
    before = log.read_text().split()
    corpus = made(Sharded(CUTS, str(log), kill=at), tmp_path / "cache", 2)
    equal(corpus, tmp_path / "cache", whole)
    read = log.read_text().split()
    assert sorted(read, key=int) == ["0", "0", "100", "101", "350", "600"], "no shard was read twice"
    assert before == read[: len(before)]


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from test_shards import CUTS, Sharded, asking, Asked, prepare, tokenizer, SHARES
cache, log, kill, step = sys.argv[2:]
def progress(what, done, total):
    if what == step and done:
        os.kill(os.getpid(), signal.SIGKILL)
with asking(Asked(2, None, 2000)):
    prepare(Sharded(CUTS, log, int(kill), True), tokenizer(), cache=cache, progress=progress, **SHARES)
"""


@pytest.mark.parametrize(("kill", "step"), [(101, ""), (700, ""), (-1, "training the tokenizer"), (-1, "tokenising")])
def test_a_killed_preparation_goes_on(tmp_path, whole, kill, step):
    log, cache = tmp_path / "log", tmp_path / "cache"
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(cache), str(log), str(kill), step]
    assert subprocess.run(command, check=False, timeout=60).returncode == -9
    assert list(cache.glob("pieces/*/*")), "it was killed too early to leave anything"
    corpus = made(Sharded(CUTS, str(log), kill, True), cache, 2)
    equal(corpus, cache, whole)
    if step:
        assert len(log.read_text().split()) == len(CUTS) + 1, "all had been read, and nothing was read again"


def test_shares_are_put_together_by_whoever_is_last(tmp_path, whole):
    log, cache = tmp_path / "log", tmp_path / "cache"
    source = Sharded(CUTS, str(log))
    with pytest.raises(Unfinished) as first:
        made(source, cache, 1, (3, 3))
    assert (first.value.what, first.value.done, first.value.total) == ("read", 2, 6)
    assert log.read_text().split() == ["100", "600"]
    with pytest.raises(Unfinished):
        made(source, cache, 1, (1, 3))
    with pytest.raises(Unfinished) as last:  # reads the last of them, joins the text, and begins to tokenise
        made(source, cache, 1, (2, 3))
    assert last.value.what == "tokens"
    assert 0 < last.value.done < last.value.total
    corpus = made(source, cache, 2)  # without a share: all that is missing
    equal(corpus, cache, whole)
    assert len(log.read_text().split()) == 6


def test_a_mistake_in_a_worker_is_the_users_line_and_a_fault_has_its_traceback(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="tokenizer: reads ordinary text"):
        run_of("mistake")
    with pytest.raises(RuntimeError, match=r"ZeroDivisionError: division by zero[\s\S]*in fault"):
        run_of("fault")
    del tmp_path, monkeypatch


def run_of(name):
    import sharded

    with work.Workers(1) as workers:
        workers.run(getattr(sharded, name), [()], lambda _: None)


def test_few_documents_in_shards_still_hold_one_out(tmp_path):
    few = [Document(t, "few", i) for i, t in enumerate(["one", "two", "two", "three"])]
    expected = prepare(Few(few, 1), build("tokenizer", "byte"), cache=tmp_path / "a", validation=0.01)
    with asking(Asked(2)):
        corpus = prepare(Few(few, 3), build("tokenizer", "byte"), cache=tmp_path / "b", validation=0.01)
    assert (corpus.train.n_documents, corpus.validation.n_documents) == (2, 1)
    equal(corpus, tmp_path / "b", (expected, tmp_path / "a"))


class Few:
    """These documents in so many shards."""

    notes: tuple[str, ...] = ()

    def __init__(self, given, count):
        self.given, self.count = given, count

    def fingerprint(self):
        return "few"

    def documents(self):
        return iter(self.given)

    def shards(self, size):  # noqa: ARG002
        return [Few(self.given[i :: self.count] if self.count == 1 else part, 1) for i, part in enumerate(self.parts())]

    def parts(self):
        return [list(part) for part in np.array_split(np.array(self.given, dtype=object), self.count)]


class Many:
    """So many documents, a fifth of which come twice."""

    notes: tuple[str, ...] = ()

    def __init__(self, count):
        self.count = count

    def fingerprint(self):
        return f"many {self.count}"

    def documents(self):
        return (Document(f"{i if i % 5 else f'twice {i // 10}'}: some words of text", "many", i) for i in range(self.count))


def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "DOCUMENTS", 1000)
    monkeypatch.setattr(duplicates, "DIGESTS", 2000)
    monkeypatch.setattr(tokenise, "BATCH", 20_000)
    monkeypatch.setattr(texts, "STRETCH", 1000)
    monkeypatch.setattr(work, "portable", lambda _: False)  # all in this process, where it is counted
    peaks = []
    for count in (500, 6000, 18000):
        tracemalloc.start()
        with asking(Asked(1, None, 200_000)):
            corpus = prepare(Many(count), build("tokenizer", "byte"), cache=tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert corpus.report.counts["duplicates"] == count // 10
    # a digest in a set is some 90 bytes. What is left is of pieces, each 150 times larger in earnest: the list of them, what Python has not yet freed
    assert peaks[2] - peaks[1] < 12 * 12000, f"{peaks} bytes for 6,000 and 18,000 documents"


class Alike:
    """Long texts, of each some versions that differ in a word, one after another through the source."""

    notes: tuple[str, ...] = ()

    def __init__(self, first=0, last=240):
        self.first, self.last = first, last

    def fingerprint(self):
        return "alike"

    def documents(self):
        for i in range(self.first, self.last):
            words = [f"word{(i % 60) * 1000 + j}" for j in range(200)]
            if i >= 120:
                words[i // 60 * 37] = "changed"
            yield Document(" ".join(words), "alike", i + 1)

    def shards(self, size):  # noqa: ARG002
        return [Alike(i, i + 50) for i in range(0, 200, 50)] + [Alike(200, 240)]


def test_near_duplicates_are_left_out_whatever_the_shards(tmp_path, monkeypatch):
    pytest.importorskip("datasketch")
    options = {"cache": tmp_path, "near_duplicates": 0.8, "validation": 0}
    one = prepare(Few([*Alike().documents()], 1), build("tokenizer", "byte"), **options)
    assert [*one.text("train")] == [d.text for d in Alike(0, 60).documents()]
    assert (one.report.counts["duplicates"], one.report.counts["near_duplicates"]) == (60, 120)
    assert one.report.examples["near_duplicates"][0].startswith("alike:121 'word0 word1")
    plain = prepare(Alike(), build("tokenizer", "byte"), cache=tmp_path, validation=0)
    assert plain.report.kept == 180
    monkeypatch.setattr(segments, "DOCUMENTS", 17)
    with asking(Asked(2)):
        more = prepare(Alike(), build("tokenizer", "byte"), **options)
    assert (more.hash, more.report) == (one.hash, one.report)
    small_pieces(monkeypatch, 40, 40)
    with asking(Asked(1)):
        pieces = prepare(Alike(), build("tokenizer", "byte"), **(options | {"cache": tmp_path / "pieces"}))
    assert (pieces.hash, pieces.report) == (one.hash, one.report)


def small_pieces(monkeypatch, documents, digests):
    """Whatever is held at once is of so many documents, and in this process, where it is counted."""
    monkeypatch.setattr(segments, "DOCUMENTS", documents)
    monkeypatch.setattr(near_duplicates, "PAIRS", documents)
    for module in (duplicates, near_duplicates):
        monkeypatch.setattr(module, "DIGESTS", digests)
    monkeypatch.setattr(work, "portable", lambda _: False)


class Boilerplate(Many):
    """So many documents: thirty like no other, the rest of three families, each alike throughout."""

    def documents(self):
        for i in range(self.count):
            words = [f"word{10_000 * (i if i < 33 else i % 3) + j}" for j in range(40)]
            yield Document(" ".join([*words, str(i)]), "boilerplate", i)


def test_memory_does_not_grow_with_the_near_duplicates(tmp_path, monkeypatch):
    pytest.importorskip("datasketch")
    small_pieces(monkeypatch, 100, 1000)
    peaks = []
    for count in (40, 500, 4000):
        tracemalloc.start()
        with asking(Asked(1, None, 100_000)):
            corpus = prepare(Boilerplate(count), build("tokenizer", "byte"), cache=tmp_path, near_duplicates=0.8)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert corpus.report.kept == 33
    # a pair of places as Python objects is some 200 bytes, a signature 512. What is left is of pieces: paths, and what Python has not yet freed
    assert peaks[2] - peaks[1] < 150 * 3500, f"{peaks} bytes for 500 and 4,000 documents"


def test_near_duplicates_without_the_package_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(UserError, match=r"task\.near_duplicates: needs the package datasketch"):
        prepare(Alike(), build("tokenizer", "byte"), cache=tmp_path, near_duplicates=0.8)
