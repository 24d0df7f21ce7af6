"""Blocks against a loop that reads like the contract, and evaluation that asks each target once."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from components import build
from components.core.errors import UserError
from components.corpus import Document, prepare
from components.corpus.blocks import Blocks, EvaluationBlocks
from components.corpus.corpus import Split
from components.corpus.framing import Frame

END = 1
OURS = Frame((END,), (), END)


def split_of(lengths: list[int], seed: int = 0) -> Split:
    """Documents of these many tokens (without endoftext), ids from 2 on."""
    drawn = np.random.default_rng(seed)
    rows = [[END, *drawn.integers(2, 60000, n)] for n in lengths]
    starts = np.cumsum([0, *map(len, rows)])[:-1]
    return Split("train", np.concatenate(rows).astype(np.uint16), starts, n_bytes=sum(lengths), frame=OURS)


def naive(split: Split, start: int, t: int) -> tuple[list[int], ...]:
    """ids, targets, documents, positions of one block, token by token."""
    ring = split.tokens.tolist()
    ids, targets, documents, positions = [], [], [], []
    document = position = 0
    for i in range(start, start + t):
        token, following = ring[i % len(ring)], ring[(i + 1) % len(ring)]
        if token == END:
            document, position = document + 1, 0
        ids.append(token)
        targets.append(following)
        documents.append(document)
        positions.append(position)
        position += 1
    return ids, targets, documents, positions


@pytest.mark.parametrize(("lengths", "t"), [([5, 0, 9, 3, 20, 1], 8), ([40], 7), ([3] * 50, 16), ([2, 3], 20), ([100] * 5, 1)])
def test_blocks_equal_the_naive_loop(lengths, t):
    split = split_of(lengths)
    blocks = Blocks(split, t, seed=3)
    for epoch in range(3):
        batch = blocks.batch(epoch, range(blocks.n_blocks))
        for row, start in enumerate(blocks.starts(epoch, range(blocks.n_blocks))):
            expected = naive(split, int(start), t)
            got = (batch.ids[row], batch.targets[row], batch.documents[row], batch.positions[row])
            assert [g.tolist() for g in got] == list(expected)
    assert batch.valid is None
    assert {x.dtype for x in (batch.ids, batch.targets, batch.documents, batch.positions)} == {torch.int64}


def test_blocks_are_addressed_by_seed_epoch_index():
    split = split_of([30] * 40)
    a, b = Blocks(split, 16, 0), Blocks(split, 16, 0)
    indices = np.arange(a.n_blocks)
    whole = a.batch(2, indices).ids
    b.batch(5, [1, 0])  # what was asked before plays no part
    one_by_one = torch.cat([b.batch(2, [i]).ids for i in indices])
    assert torch.equal(whole, one_by_one)
    assert torch.equal(a.batch(2, indices[::-1].copy()).ids.flip(0), whole)
    assert not torch.equal(a.batch(3, indices).ids, whole)
    assert not torch.equal(Blocks(split, 16, 1).batch(2, indices).ids, whole)


def test_an_epoch_reads_every_token_at_most_once_and_leaves_less_than_a_block():
    split = split_of([30] * 40)
    blocks = Blocks(split, 16, 0)
    for epoch in range(4):
        starts = np.sort(blocks.starts(epoch, range(blocks.n_blocks)))
        covered = np.concatenate([(s + np.arange(16)) % blocks.n_tokens for s in starts])
        assert len(covered) == len(set(covered.tolist())) > blocks.n_tokens - 16


def test_cuts_differ_between_epochs_unless_told():
    split = split_of([30] * 40)
    shifted, fixed = Blocks(split, 16, 0), Blocks(split, 16, 0, shift=False)
    assert len({int(shifted.starts(e, [0])[0]) % 16 for e in range(12)}) > 3
    assert {int(s) % 16 for e in range(5) for s in fixed.starts(e, range(fixed.n_blocks))} == {0}


def test_order_is_fixed_for_good():
    """A run is resumed by (seed, epoch, index) years later: the numbers must not change with a release of numpy."""
    blocks = Blocks(split_of([9] * 10), 10, seed=7)
    assert blocks.starts(0, range(4)).tolist() == [40, 0, 90, 20]


@pytest.mark.parametrize(("lengths", "t"), [([5, 0, 9, 3, 20, 1], 8), ([15], 8), ([3] * 50, 16), ([2, 3], 20)])
def test_evaluation_asks_every_target_once_in_order(lengths, t):
    split = split_of(lengths)
    blocks = EvaluationBlocks(split, t)
    batch = blocks.batch(0, range(blocks.n_blocks))
    asked = batch.targets[batch.targets != -100]
    assert asked.tolist() == [*split.tokens[1:].tolist(), END]
    assert blocks.n_targets == len(asked)
    assert blocks.n_bytes == sum(lengths)
    outside = blocks.n_blocks * t - len(split.tokens)
    if outside:
        assert (~batch.valid).flatten().nonzero().flatten().tolist() == list(range(len(split.tokens), blocks.n_blocks * t))
        assert (batch.targets[~batch.valid] == -100).all()
    else:
        assert batch.valid is None
    read = batch.ids if batch.valid is None else batch.ids[batch.valid]
    assert read.flatten().tolist() == split.tokens.tolist()


def test_only_the_batch_with_padding_says_so():
    blocks = EvaluationBlocks(split_of([5, 0, 9, 3, 20, 1]), 8)
    assert blocks.batch(0, [0, 1]).valid is None
    assert blocks.batch(0, [blocks.n_blocks - 1]).valid is not None


def test_nothing_to_read_is_said():
    empty = Split("validation", np.zeros(0, np.uint16), np.zeros(0, np.int64), 0, OURS)
    for make in (lambda: Blocks(empty, 8, 0), lambda: EvaluationBlocks(empty, 8)):
        with pytest.raises(UserError, match="validation split is empty"):
            make()
    with pytest.raises(ValueError, match="context_length=0"):
        Blocks(split_of([4]), 0, 0)


def test_sizes_and_order_survive_a_change_of_batch_size():
    split = split_of([11] * 30)
    blocks = Blocks(split, 8, 0)
    order = np.arange(blocks.n_blocks)
    whole = torch.cat([blocks.batch(0, part).ids for part in np.array_split(order, 3)])
    assert torch.equal(whole, torch.cat([blocks.batch(0, part).ids for part in np.array_split(order, 7)]))


class Made:
    def documents(self):
        yield from (Document(f"document {i}", "made") for i in range(3000))

    def fingerprint(self):
        return "made"


def test_pickled_for_a_worker_it_is_mapped_and_not_copied(tmp_path):
    corpus = prepare(Made(), build("tokenizer", "byte"), cache=tmp_path)
    blocks = Blocks(corpus.train, 16, 0, shift=False)
    held = pickle.dumps((corpus, blocks))
    assert len(held) < corpus.train.tokens.nbytes / 2
    again, other = pickle.loads(held)
    assert isinstance(again.train.tokens, np.memmap)
    assert np.array_equal(again.train.tokens, corpus.train.tokens)
    assert np.array_equal(other.batch(3, [0, 5]).ids, blocks.batch(3, [0, 5]).ids)
    assert again.tokenizer.encode("<|endoftext|>") == corpus.tokenizer.encode("<|endoftext|>") != [1]
