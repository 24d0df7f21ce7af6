"""Several examples in a row: nothing lost, little padding, and the very loss and gradients of one example in a row."""

from __future__ import annotations

import json
import pickle
import random
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import components
from components.corpus.example import Example
from components.corpus.packing import PackedRows, bins
from components.corpus.row import Row
from components.corpus.rows import Rows

T = 12


@given(st.lists(st.integers(1, 40), min_size=1, max_size=200))
def test_each_item_is_in_one_bin_and_no_bin_is_too_full(lengths):
    members, ends = bins(np.array(lengths), 40)
    assert sorted(members.tolist()) == list(range(len(lengths)))
    held = [sum(lengths[i] for i in members[a:b]) for a, b in zip([0, *ends[:-1]], ends)]
    assert min(held) > 0
    assert max(held) <= 40
    assert len(ends) <= 11 / 9 * -(-sum(lengths) // 40) + 1 + sum(n > 20 for n in lengths), "worse than best fit can be"


def test_the_least_room_that_is_enough_is_taken():
    members, ends = bins(np.array([7, 5, 3, 4, 1]), 10)  # 7 + 3, 5 + 4 + 1
    assert [members[a:b].tolist() for a, b in zip([0, *ends[:-1]], ends)] == [[0, 2], [1, 3, 4]]


def packed(lengths, seed=0):
    given = [Row([10 * i + k for k in range(n)], [-100] * (n - 1) + [i]) for i, n in enumerate(lengths)]
    examples = [Example(str(i), "y", "f", i) for i in range(len(given))]
    rows = Rows("train", examples, lambda e, _: given[int(str(e.input))], T, seed)
    return PackedRows(rows, seed), given


def test_rows_hold_their_examples_apart():
    rows, given = packed([7, 5, 3, 4, 1, 9])
    assert rows.n_blocks == 3
    for epoch in (0, 1):
        batch = rows.batch(epoch, range(3))
        seen = []
        for r in range(3):
            for d in range(int(batch.documents[r].max()) + 1):
                there = batch.documents[r] == d
                ids = batch.ids[r][there].tolist()
                seen.append(ids)
                one = given[ids[0] // 10]
                assert batch.targets[r][there].tolist() == list(one.targets)
                assert batch.positions[r][there].tolist() == list(range(len(ids)))
        assert sorted(seen) == sorted(list(one.ids) for one in given)
        padding = batch.documents == -1
        assert torch.equal(padding, ~batch.valid)
        assert (batch.targets[padding] == -100).all()
    again = pickle.loads(pickle.dumps(rows))
    assert torch.equal(again.batch(1, [2]).ids, rows.batch(1, [2]).ids)
    assert any("packed into 3 rows of 12: 19% of their positions are padding, 60% with one in a row" in n for n in rows.notes)


def test_rows_that_have_no_target_for_each_position_are_not_packed():
    rows = Rows("train", [Example("x", "y", "f", 0)], lambda *_: Row([1, 2], 1), T, 0)
    with pytest.raises(ValueError, match="a target for each position"):
        PackedRows(rows, 0)


@pytest.fixture
def _chats(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = random.Random(0)
    words = ["the", "cat", "dog", "runs", "sees", "house"]
    say = lambda: " ".join(drawn.choices(words, k=drawn.randint(1, 6)))  # noqa: E731
    lines = [{"messages": [{"role": r, "content": f"{i} {say()}"} for r in ("user", "assistant")]} for i in range(40)]
    (tmp_path / "chat.jsonl").write_text("\n".join(map(json.dumps, lines)))


SMALL = ["model.d_model=32", "model.n_layers=2", "trainer.max_steps=4", "trainer.precision=32-true", "task.scored=0"]
SMALL += ["task=instruction_tuning", "data=conversations", "data.path=chat.jsonl", "tokenizer=byte", "task.samples=0"]
SMALL += ["model.context_length=256"]


@pytest.mark.usefixtures("_chats")
@pytest.mark.parametrize(
    ("parts", "near"),
    [
        ([], 1e-10),
        (["model/position=learned"], 1e-10),
        (["model/attention=gated_delta_net"], 1e-6),  # a part of it is computed in fp32 whatever the input
        (["model/attention=mamba2", "model/position=none"], 1e-6),
    ],
)
def test_packed_conversations_give_the_loss_and_gradients_of_one_in_a_row(parts, near):
    found = []
    for packing in ("false", "true"):
        recipe = components.load_recipe("llama_tiny", [*SMALL, *parts, f"task.packing={packing}"])
        model, rows = recipe.model.double(), recipe.data.train
        terms = [model(rows.batch(0, [i]), recipe.task.objective).losses["loss"] for i in range(rows.n_blocks)]
        nats, weight = sum(t[0] for t in terms), sum(t[1] for t in terms)
        (nats / weight).backward()
        found.append((rows.n_blocks, nats / weight, weight, [p.grad for p in model.parameters()]))
    alone, together = found
    assert together[0] < alone[0] / 2
    assert together[2] == alone[2]
    torch.testing.assert_close(together[1], alone[1], rtol=near, atol=0)
    for a, b in zip(alone[3], together[3]):
        torch.testing.assert_close(b, a, rtol=1e4 * near, atol=near)


@pytest.mark.usefixtures("_chats")
def test_a_run_says_what_packing_saved_and_measures_one_conversation_a_row(capsys):
    run = components.train("llama_tiny", [*SMALL, "task.packing=true", "task.batch_size=2", "task.validation_fraction=0.2"])
    said = capsys.readouterr().out
    assert re.search(
        r"\d+ examples packed into \d+ rows of 256: \d+% of their positions are padding, \d+% with one in a row", said
    )
    assert run.figures["val_loss"] > 0
