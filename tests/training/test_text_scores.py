"""BLEU and chrF are sacrebleu's, also where an order of n-grams has no hit."""

from __future__ import annotations

import random

import pytest

from components.evaluating.bleu import Bleu
from components.evaluating.chrf import ChrF

sacrebleu = pytest.importorskip("sacrebleu", reason="the oracle, and no dependency")
WORDS = ["the", "a", "cat", "dog", "sat", "on", "mat,", "runs!", "3.5", "(it's)", "under", "over"]


def texts(seed: int, count: int, overlap: float) -> tuple[list[str], list[str]]:
    drawn = random.Random(seed)
    meant = [[drawn.choice(WORDS) for _ in range(drawn.randint(1, 9))] for _ in range(count)]
    said = [[w if drawn.random() < overlap else drawn.choice(WORDS) for w in words] for words in meant]
    return [" ".join(w) for w in said], [" ".join(w) for w in meant]


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.6, 1.0])
@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("tokenize", ["13a", "intl", "char", "zh", "none"])
def test_it_is_sacrebleus(tokenize, count, overlap):
    for seed in range(5):
        said, meant = texts(seed, count, overlap)
        ours = Bleu(tokenize=tokenize)
        ours.update(said, [[m] for m in meant])
        theirs = sacrebleu.corpus_bleu(said, [meant], tokenize=tokenize, force=True).score / 100
        assert float(ours.compute()) == pytest.approx(theirs, abs=1e-5), (said, meant)


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.6, 1.0])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_chrf_is_sacrebleus(count, overlap):
    for seed in range(8):
        said, meant = texts(seed, count, overlap)
        ours = ChrF()
        for some in range(0, count, 7):  # in parts, as ranks and batches give them
            ours.update(said[some : some + 7], meant[some : some + 7])
        assert float(ours.compute()) == pytest.approx(sacrebleu.corpus_chrf(said, [meant]).score / 100, abs=1e-6), (said, meant)
    for said, meant in ((["x"], ["x"]), ([""], ["abc"]), (["abc"], [""]), (["ab", "y"], ["abcdefgh", "y"])):
        ours = ChrF()
        ours.update(said, meant)
        assert float(ours.compute()) == pytest.approx(sacrebleu.corpus_chrf(said, [meant]).score / 100, abs=1e-6), (said, meant)


def test_nothing_said_and_nothing_right():
    for said, meant in (([""], ["a b c d e"]), (["x y z w v"], ["a b c d e"]), (["a b"], ["a b"])):
        metric = Bleu()
        metric.update(said, [meant])
        assert float(metric.compute()) == sacrebleu.corpus_bleu(said, [meant]).score == 0.0


def test_chinese_is_one_word_unless_told():
    for tokenize, expected in (("13a", 0.0), ("zh", 1.0), ("char", 1.0)):
        metric = Bleu(tokenize=tokenize)
        metric.update(["1974年2月9日"], [["1974年2月9日"]])
        assert float(metric.compute()) == pytest.approx(expected)
