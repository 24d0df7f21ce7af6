"""A folder of shards by itself, in one process: what is written is read again, whole or in part."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import random

import pytest
import torch

from components.core.errors import UserError
from components.runs import checkpoints, run_folder, shards
from components.runs.run_files import NODES
from components.runs.tensor_places import put_together, taken_apart
from components.training.strategy._shards import Planned, Writer, key_of, save

CONFIG = {"trainer": {}, **{node: {"name": "x"} for node in NODES}}
OURS = {"version": "0", "schema": 1, "config": CONFIG, "tokenizer": {"tokenizer.json": "{}"}}


def held():
    """A checkpoint with all sorts of tensors and of things beside them."""
    torch.manual_seed(1)
    state = {
        0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(4, 6).bfloat16(), "steps": 7},
        1: {"prev": [torch.randn(3), "x", torch.zeros(0, 5)], "mask": torch.tensor([True, False])},
    }
    return {
        "components": OURS,
        "global_step": 3,
        "state_dict": {"model.a": torch.randn(4, 6), "model.b": torch.randn(5, dtype=torch.float64)},
        "optimizer_states": [{"state": state, "param_groups": [{"params": [0, 1], "betas": (0.9, 0.95), "lr": 0.1}]}],
        "callbacks": {"losses": torch.ones(3)},
    }


def write(folder, checkpoint, ties=()):
    rest, tensors = taken_apart(checkpoint)
    places = {key_of(p): [p] for p in tensors if p not in ties}
    for place, other in dict(ties).items():
        places[key_of(other)].append(place)
    state = {key_of(p): t for p, t in tensors.items() if p not in ties}
    stream = folder.with_name("rest")
    torch.save(rest, stream)
    assert save(Planned(state, copied=False), Writer(folder, stream.read_bytes(), places, lambda: None), None) is None


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_what_is_taken_apart_is_put_together():
    rest, tensors = taken_apart(held())
    assert len(tensors) == 7
    assert rest["callbacks"]["losses"].sum() == 3  # it is none of the large ones
    assert rest["optimizer_states"][0]["param_groups"][0]["betas"] == (0.9, 0.95)
    assert same(held()["state_dict"], put_together(rest, tensors.items(), "x")["state_dict"])
    with pytest.raises(UserError, match=r"x: is damaged: state_dict/model\.a is no place for a tensor"):
        put_together(rest, [(("state_dict", "model.a"), torch.ones(1))], "x")


@pytest.mark.filterwarnings("ignore:torch.distributed is")
def test_what_is_written_is_read(tmp_path):
    write(tmp_path / "a.ckpt", held())
    read = checkpoints.read(tmp_path / "a.ckpt")
    for part in ("state_dict", "callbacks", "components"):
        assert same(held()[part], read[part]), part
    state, again = held()["optimizer_states"][0], read["optimizer_states"][0]
    assert same(state["param_groups"], again["param_groups"])
    assert same(state["state"][1]["prev"], again["state"][1]["prev"])
    assert {n: type(v) for n, v in state["state"][0].items()} == {n: type(v) for n, v in again["state"][0].items()}
    assert same(state["state"][0]["exp_avg"], again["state"][0]["exp_avg"])
    assert "exp_avg" not in checkpoints.read(tmp_path / "a.ckpt", "weights")["optimizer_states"][0]["state"][0]
    shapes = checkpoints.read(tmp_path / "a.ckpt", "shapes")
    assert shapes["state_dict"]["model.a"].is_meta
    assert shapes["optimizer_states"][0]["state"][0]["exp_avg"].shape == (4, 6)


@pytest.mark.filterwarnings("ignore:torch.distributed is")
def test_pieces_are_put_together_in_memory_or_on_the_disk(tmp_path):
    write(tmp_path / "a.ckpt", held())
    plan = shards.read_plan(tmp_path / "a.ckpt")
    one = next(t for t in plan.tensors if t.shape == (4, 6) and t.dtype == torch.float32)
    assert one.pieces[0].shape == one.shape  # of one process
    whole = plan.tensor(one)
    write(
        tmp_path / "b.ckpt",
        {**held(), "state_dict": {"top": whole[:1].clone(), "left": whole[1:, :2].clone(), "right": whole[1:, 2:].clone()}},
    )
    cut = shards.read_plan(tmp_path / "b.ckpt")
    found = {t.key: t.pieces[0] for t in cut.tensors if t.pieces}
    pieces = [(found[f"state_dict/{n}"], at) for n, at in (("top", (0, 0)), ("left", (1, 0)), ("right", (1, 2)))]
    blocks = tuple(shards.Piece(p.part, p.name, at, p.shape, p.crc) for p, at in pieces)
    stored = shards.Stored(one.places, one.dtype, one.shape, blocks)
    assert torch.equal(cut.tensor(stored), whole)
    on_disk = cut.tensor(stored, tmp_path / "room")
    assert torch.equal(on_disk, whole)
    assert (tmp_path / "room").stat().st_size == 4 * 6 * 4


def test_only_a_grid_without_holes_covers():
    draw = random.Random(0)
    for _ in range(200):
        shape = tuple(draw.randint(1, 6) for _ in range(draw.randint(0, 3)))
        cuts = [sorted({0, n, *(draw.randint(0, n) for _ in range(2))}) for n in shape]
        blocks = [((), ())]
        for row in cuts:
            blocks = [((*at, a), (*size, b - a)) for at, size in blocks for a, b in itertools.pairwise(row)]
        draw.shuffle(blocks)
        assert shards.covered(shape, blocks)
        assert not shards.covered(shape, blocks[1:])
        assert not shards.covered(shape, [*blocks, blocks[0]])
        if shape:
            at, size = blocks[0]
            assert not shards.covered(shape, [((at[0] + 1, *at[1:]), size), *blocks[1:]])
            assert not shards.covered(shape, [(at, (size[0] + 1, *size[1:])), *blocks[1:]])
    assert shards.covered((0, 5), [])
    assert not shards.covered((2, 5), [])


def test_a_folder_of_pytorchs_own_is_not_opened(tmp_path):
    class Code:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / ".metadata").write_bytes(pickle.dumps(Code()))
    _, file = run_folder.find_run(str(tmp_path / "theirs"), tmp_path)
    with pytest.raises(
        UserError, match=r"is a folder of torch\.distributed\.checkpoint with \.metadata, a pickle, which is not loaded"
    ):
        checkpoints.read(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:torch.distributed is")
def test_a_plan_of_a_newer_release(tmp_path):
    write(tmp_path / "a.ckpt", held())
    file = tmp_path / "a.ckpt" / "plan.json"
    plan = json.loads(file.read_text())
    plan["plan"]["schema"] = 2
    file.write_text(json.dumps(plan))
    with pytest.raises(UserError, match="was written by a newer release; upgrade"):
        checkpoints.read(tmp_path / "a.ckpt")
