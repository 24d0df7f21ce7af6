"""Shares of a mixture: those of the tokens that the ranks of a step read, counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
from sharded import Piece, Sharded

from components import build
from components.corpus import prepare
from components.corpus.blocks import Blocks
from components.corpus.document import Document
from components.corpus.shares import Shares
from components.corpus.steps import TrainSteps
from components.corpus.work import Asked, asking


class Mixture(Sharded):
    """The source in shards, its documents from three others in turn, of which one has a document here and there."""

    def fingerprint(self):
        return "mixture"

    def shards(self, size):
        return [Turns(p.first, p.last) for p in super().shards(size)]


class Turns(Piece):
    def documents(self):
        for i, document in enumerate(super().documents(), self.first):
            source = "rare" if i % 50 == 0 else ("wiki", "code")[i // 30 % 2]
            yield Document(document.text, document.origin, document.line, source)


def mixture(cache, cuts=(), workers=None):
    with asking(Asked(workers, None, 2000)):
        return prepare(Mixture([*cuts]), build("tokenizer", "byte"), cache=cache, validation=0.2, test=0.1, max_chars=100)


def source_of_each_token(corpus):
    """Found without the runs: by the source of each text in turn."""
    of: dict[str, str] = {}
    for document in Mixture([]).documents():
        of.setdefault(document.text, document.source)  # of equal ones the first stays
    made = []
    for text in corpus.text("train"):  # pieces of a long document follow one another
        made.append(of[text] if text in of else next(of[whole] for whole in of if text in whole))
    lengths = np.diff(np.append(corpus.train.starts, len(corpus.train.tokens)))
    return np.repeat(np.array([corpus.sources.names.index(name) for name in made]), lengths)


@pytest.mark.parametrize(
    ("length", "batch", "accumulate", "ranks"), [(16, 8, 1, 1), (64, 8, 2, 2), (100, 12, 1, 4), (30_000, 2, 1, 1)]
)
def test_shares_are_those_of_what_all_ranks_read(tmp_path, length, batch, accumulate, ranks):
    corpus = mixture(tmp_path)
    assert sorted(corpus.sources.names) == ["code", "rare", "wiki"]
    each = source_of_each_token(corpus)
    assert np.array_equal(np.bincount(each), corpus.sources.whole)
    for how in ("dealt", "computed"):
        blocks = Blocks(corpus.train, length, seed=3, how=how)
        shares = Shares(corpus.sources, blocks, batch)
        loaders = [TrainSteps(blocks, batch, accumulate, rank, ranks, True) for rank in range(ranks)]
        last = 2 * blocks.n_blocks // batch + 2  # into the third epoch
        for step in {0, 1, last // 2, last}:
            expected, read = np.zeros(3), []
            for loader in loaders:
                for micro in range(accumulate):
                    item = loader[step * accumulate + micro]
                    for sample, ids in zip(item.samples.tolist(), item.batch.ids):
                        epoch, place = divmod(sample, blocks.n_blocks)
                        at = (blocks.starts(epoch, [place])[0] + np.arange(length)) % len(each)
                        assert ids.tolist() == corpus.train.tokens[at].tolist()
                        expected += np.bincount(each[at], minlength=3)
                        read.append(sample)
            assert sorted(read) == [*range(step * batch, (step + 1) * batch)]
            assert shares.counts(step, step + 1).tolist() == expected.tolist()
        assert shares.counts(0, last).tolist() == sum(shares.counts(s, s + 1) for s in range(last)).tolist()
        assert sum(shares(0, last).values()) == pytest.approx(1)


def test_sources_are_the_same_whatever_the_shards_and_only_of_mixtures(tmp_path):
    one, more = mixture(tmp_path / "a"), mixture(tmp_path / "b", cuts=(100, 450), workers=2)
    assert one.sources.names == more.sources.names
    for name in ("which", "bounds"):
        assert np.array_equal(getattr(one.sources, name), getattr(more.sources, name))
    plain = prepare(Sharded([]), build("tokenizer", "byte"), cache=tmp_path / "a", validation=0.2, test=0.1, max_chars=100)
    assert plain.sources is None
    assert plain.hash == one.hash, "what a run resumes by is the text alone"
    assert plain.folder == one.folder, "and tokens that are there are not made again"


def test_names_of_a_mixture(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(f"{name}1\n\n{name}2\n\n{name}3")
    parts = [{"name": "text", "path": str(tmp_path / name)} for name in "ab"]
    assert build("data", "mixed", parts=parts).names == ["text", "text_2"]
    inner = {"name": "mixed", "parts": parts, "names": ["a", "b"]}
    outer = build("data", "mixed", parts=[inner, parts[0]])
    assert {d.source for d in outer.documents()} == {"mixed/a", "mixed/b", "text"}
    for names in (["a"], ["a", "a"], ["a", ""]):
        with pytest.raises(ValueError, match="must be 2 different names"):
            build("data", "mixed", parts=parts, names=names)
