"""What stands around documents: every frame against a loop that reads like its contract."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from components import build
from components.corpus.blocks import Blocks, EvaluationBlocks
from components.corpus.corpus import Split
from components.corpus.framing import Frame, frame_of

B, C, E, S = 1, 2, 3, 4
FRAMES = {
    "ours": Frame((E,), (), E),
    "begins": Frame((B,), (), E),  # Llama
    "begins twice": Frame((B, C), (), E),
    "both": Frame((B,), (E,), E),  # a Llama that closes its texts
    "another close": Frame((B,), (S,), S),  # BERT
    "closes": Frame((), (E,), E),  # T5
}
LENGTHS = [5, 0, 9, 3, 20, 1]


def split_of(frame: Frame) -> Split:
    drawn = np.random.default_rng(0)
    rows = [[*frame.before, *drawn.integers(10, 6000, n), *frame.after] for n in LENGTHS]
    starts = np.cumsum([0, *map(len, rows)])[:-1]
    return Split("train", np.concatenate(rows).astype(np.uint16), starts, n_bytes=sum(LENGTHS), frame=frame)


def naive(split: Split, t: int, *, whole: bool) -> list[tuple[list[int], ...]]:
    """(ids, targets, documents counted from 0, positions) of each block of T, document by document."""
    frame, ring = split.frame, split.tokens.tolist()
    bounds = [*split.starts.tolist(), len(ring)]
    place = [(n, i - a) for n, (a, b) in enumerate(pairwise(bounds)) for i in range(a, b)]
    sizes = [b - a for a, b in pairwise(bounds)]
    opening = bool(frame.before) or not whole

    def target(i: int) -> int:
        n, p = place[i]
        head, tail = len(frame.before), len(frame.after)
        if whole:
            return -100 if p < head or p >= sizes[n] - tail else ring[i]
        following = p + 1
        if following >= sizes[n]:  # the document is over
            if frame.before and frame.after:
                return -100
            return frame.end if frame.before else ring[(i + 1) % len(ring)]
        return -100 if following < head else ring[i + 1]

    seen = place
    if not frame.before and opening:  # read from the close on: it begins the next document
        seen = [(n + (p == sizes[n] - 1), 0 if p == sizes[n] - 1 else p + 1) for n, p in place]
    blocks = []
    for start in range(0, len(ring), t):
        ids, targets, documents, positions = [], [], [], []
        for i in range(start, min(start + t, len(ring))):
            ids.append(ring[i])
            targets.append(target(i))
            documents.append(seen[i][0])
            positions.append(seen[i][1] if seen[i][0] != seen[start][0] else i - start)
        blocks.append((ids, targets, documents, positions))
    return blocks


def same(documents: list[int]) -> list[int]:
    """Numbered from 0 in the order in which they occur."""
    numbers: dict[int, int] = {}
    return [numbers.setdefault(n, len(numbers)) for n in documents]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("t", [7, 16, 200])
@pytest.mark.parametrize("name", FRAMES)
def test_blocks_are_as_the_loop_says(name, t, whole):
    split = split_of(FRAMES[name])
    blocks = EvaluationBlocks(split, t, whole=whole)
    batch = blocks.batch(0, range(blocks.n_blocks))
    asked = 0
    for row, (ids, targets, documents, positions) in enumerate(naive(split, t, whole=whole)):
        n = len(ids)
        assert batch.ids[row, :n].tolist() == ids
        assert batch.targets[row, :n].tolist() == targets
        assert same(batch.documents[row, :n].tolist()) == same(documents)
        assert batch.positions[row, :n].tolist() == positions
        assert (batch.targets[row, n:] == -100).all()
        asked += sum(x != -100 for x in targets)
    assert blocks.n_targets == asked


@pytest.mark.parametrize("name", FRAMES)
def test_what_is_given_is_never_asked_for(name):
    frame = FRAMES[name]
    batch = Blocks(split_of(frame), 16, seed=1).batch(0, [0, 1])
    given = {*frame.before} - {frame.end}
    assert not given & set(batch.targets.unique().tolist())


def test_an_objective_hides_no_token_of_the_frame():
    frame = FRAMES["another close"]
    batch = EvaluationBlocks(split_of(frame), 16, whole=True).batch(0, [0, 1, 2])
    for loss in ("masked_lm", "span_corruption"):
        made = build(
            "loss",
            loss,
            vocab_size=6000,
            **({"rate": 1.0, "random": 0.0, "masked": 1.0} if loss == "masked_lm" else {"rate": 0.9}),
        )
        changed = made.prepare(batch, torch.Generator().manual_seed(0))
        asked = set(changed.targets.unique().tolist())
        assert asked & set(batch.ids.unique().tolist())
        assert not asked & {B, S}


def test_filling_the_middle_leaves_the_close_at_the_end():
    frame = FRAMES["both"]
    batch = EvaluationBlocks(split_of(frame), 200).batch(0, [0])
    made = build("loss", "fill_in_the_middle", vocab_size=6000, rate=1.0).prepare(batch, torch.Generator().manual_seed(0))
    ids = made.ids[0].tolist()
    for at in (i for i, token in enumerate(ids) if token == B and i):
        assert ids[at - 1] == E


def test_frame_of_what_a_file_says():
    class Said:
        def __init__(self, begins, closes):
            self.begins, self.closes, self.specials = begins, closes, {"endoftext": E}

    assert frame_of(Said(None, [])) == FRAMES["ours"]
    assert frame_of(Said([], [])) == FRAMES["ours"]
    assert frame_of(Said([B], [])) == FRAMES["begins"]
    assert frame_of(Said([B], [E])) == FRAMES["both"]
    assert frame_of(Said(None, [E])) == FRAMES["closes"]
    assert frame_of(Said([E], [E])) == FRAMES["ours"], "one token for both stands once"
