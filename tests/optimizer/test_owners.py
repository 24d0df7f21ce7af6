"""Matrices that are whole on one rank each: who owns which, what goes where, and how much each rank holds. Ranks are threads (tests/threaded.py)."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from small_model import small
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from components import build
from components.core.owners import Owners, in_copies, shared_out
from components.core.weights import roles
from components.functional.orthogonal import products
from components.parts.optimizer._spread import Spread, compute_once

sys.path.insert(0, str(Path(__file__).parents[1]))
from threaded import on_ranks


def run(ranks, function):
    results = on_ranks(ranks, function)
    for one in results:
        if isinstance(one, Exception):
            raise one
    return results


def test_work_is_shared_out_evenly_and_always_alike():
    costs = [7, 7, 6, 6, 5, 5, 4, 4, 4]  # Graham's example: three ranks, at best 16 each
    owners = shared_out(costs, 3)
    assert owners == shared_out(costs, 3)
    loads = [sum(c for c, o in zip(costs, owners) if o == rank) for rank in range(3)]
    assert sum(loads) == sum(costs)
    assert max(loads) <= 16 * (4 / 3 - 1 / 9)
    assert shared_out([1.0] * 4, 4) == [0, 1, 2, 3], "equal ones in their order"
    assert shared_out([3.0], 2) == [0]


LAID = {  # shape, where a mesh of 2 x 2 has it
    "a shard each": ((7, 6), (Shard(0), Shard(1))),
    "rows cut twice": ((5, 3), (Shard(0), Shard(0))),
    "copies of shards": ((6, 5), (Replicate(), Shard(1))),
    "copies": ((3, 4), (Replicate(), Replicate())),
    "experts": ((3, 4, 6), (Shard(0), Shard(2))),
    "some have none": ((1, 4), (Shard(0), Replicate())),
}


@pytest.mark.parametrize("case", LAID)
def test_pieces_go_to_their_owner_and_back(case):
    shape, placements = LAID[case]

    def there_and_back(rank):
        mesh = init_device_mesh("cpu", (2, 2))
        wholes = [torch.randn(shape, generator=torch.Generator().manual_seed(n)) for n in range(5)]
        laid = [distribute_tensor(x, mesh, placements, src_data_rank=None) for x in wholes]
        spread = Spread(laid, lambda p: float(p.numel()), mesh, replicas=False)
        (some,) = spread.rounds(laid)
        assert all(spread.owners.of[i] == rank for i in some.own)
        rooms = [torch.empty(shape) for _ in some.mine]
        some.gather(lambda p: 2 * p.to_local(), rooms, wholes[0])
        for i, room in zip(some.own, rooms):
            assert torch.equal(room, 2 * wholes[i])
        for p, piece in some.scatter([x + 1 for x in rooms], wholes[0]):
            assert torch.equal(piece, 2 * p.to_local() + 1)
            p.to_local().zero_()
        assert not any(p.to_local().any() for p in laid), "each rank got all that it has"
        return len(some.own)

    assert sorted(run(4, there_and_back)) == [1, 1, 1, 2]


@pytest.mark.parametrize(("rows", "dim"), [(8, 0), (10, 0), (9, 1), (3, 0)])
def test_shards_of_pieces_are_where_fsdp_puts_them(rows, dim):
    """FSDP2 cuts the first dimension of what tensor parallelism has cut, along the same dimension or another one."""

    def regions(rank):
        mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
        whole = torch.arange(float(rows * 6)).view(rows, 6)
        layer = nn.Linear(6, rows, bias=False)
        layer.weight = nn.Parameter(distribute_tensor(whole, mesh["tensor"], [Shard(dim)], src_data_rank=None))
        fully_shard(layer, mesh=mesh["data"])
        p = layer.weight
        assert p.device_mesh.ndim == 2
        spread = Spread([p], lambda _: 1.0, p.device_mesh, replicas=False)
        assert torch.equal(whole[spread.owners.layouts[0].regions[rank]], p.to_local())

    run(4, regions)


def test_copies_are_not_sent_to_their_owner(monkeypatch):
    sent = []
    exchange = torch.distributed.all_to_all_single

    def counted(room, parcel, *sizes, **more):
        sent.append(parcel.numel())
        return exchange(room, parcel, *sizes, **more)

    monkeypatch.setattr(torch.distributed, "all_to_all_single", counted)

    def gathered(rank):
        owners = Owners([in_copies((2, 3), 2)] * 2, [0, 1], None, rank)
        room = {rank: torch.zeros(2, 3)}
        owners.gather([0, 1], lambda i: torch.full((2, 3), 1.0 + i), room, room[rank])
        return dict(owners.scatter([0, 1], room, room[rank]))

    for found in run(2, gathered):
        assert {i: x.unique().tolist() for i, x in found.items()} == {0: [1.0], 1: [2.0]}
    assert sent == [6, 6]


# -- optimizers -------------------------------------------------------------------------------------------------------------


def learned(model, optimizer, steps, seed=0):
    for step in range(steps):
        for i, p in enumerate(model.parameters()):
            grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * (seed + step) + i), dtype=p.dtype)
            p.grad = (
                distribute_tensor(grad, p.device_mesh, p.placements, src_data_rank=None) if hasattr(p, "placements") else grad
            )
        optimizer.step()


START = small().double()
OPTIONS = {"muon": {}, "soap": {"every": 2}}


def made(name, layout):
    model = copy.deepcopy(START)  # threads would draw from one generator
    if layout == "shards":
        mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
        for part in (model.q, model.out, model.experts):
            fully_shard(part, mesh=mesh)
        fully_shard(model, mesh=mesh)
    optimizer = build("optimizer", name, weights=list(roles(model)), **OPTIONS[name])
    if layout == "copies":
        compute_once(optimizer)
    return model, optimizer


def wholes(model):
    return [p.full_tensor() if hasattr(p, "full_tensor") else p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("layout", ["shards", "copies"])
@pytest.mark.parametrize("name", OPTIONS)
def test_ranks_step_as_one_process_and_go_on_elsewhere(name, layout):
    model, optimizer = made(name, "one process")
    learned(model, optimizer, 5)
    expected = wholes(model)

    def begun(_):
        other, over = made(name, layout)
        learned(other, over, 3)
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = get_optimizer_state_dict(other, over, options=options) if layout == "shards" else over.state_dict()
        return wholes(other), copy.deepcopy(state)

    weights, state = run(3, begun)[0]
    again, optimizer = made(name, "one process")
    names = {n: i for i, n in enumerate(dict(again.named_parameters()))}
    order = [names[n] for g in optimizer.param_groups for p in g["params"] for n, q in again.named_parameters() if q is p]
    if layout == "shards":  # by name: number them as one process does
        numbers = {n: order.index(i) for n, i in names.items()}
        state = {
            "state": {numbers[n]: s for n, s in state["state"].items()},
            "param_groups": optimizer.state_dict()["param_groups"],
        }
    with torch.no_grad():
        for p, held in zip(again.parameters(), weights):
            p.copy_(held)
    optimizer.load_state_dict(copy.deepcopy(state))
    learned(again, optimizer, 2, seed=3)
    for found, whole in zip(wholes(again), expected):
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-12)

    def went_on(_):
        other, over = made(name, "copies")
        with torch.no_grad():
            for p, held in zip(other.parameters(), weights):
                p.copy_(held)
        over.load_state_dict(copy.deepcopy(state))
        learned(other, over, 2, seed=3)
        return wholes(other), held_by(over, "soap" if name == "soap" else "muon")

    first, second = run(2, went_on)
    for found in (first[0], second[0]):
        for one, whole in zip(found, expected):
            torch.testing.assert_close(one, whole, rtol=0, atol=1e-12)
    if name == "soap":
        assert abs(first[1] - second[1]) < max(first[1], second[1]), "each has states of its own matrices alone"


def held_by(optimizer, by):
    """Elements of the matrices' states on this rank."""
    of = {id(p) for g in optimizer.param_groups if g["by"] == by for p in g["params"]}
    tensors = [t for p, s in optimizer.state.items() if id(p) in of for t in s.values() if isinstance(t, torch.Tensor)]
    return sum((t.to_local() if hasattr(t, "to_local") else t).numel() for t in tensors)


@pytest.mark.parametrize("layout", ["shards", "copies"])
def test_each_rank_keeps_its_share_of_the_state(layout):
    model, optimizer = made("soap", "one process")
    learned(model, optimizer, 2)
    total = held_by(optimizer, "soap")
    largest = sum(t.numel() for t in optimizer.state[model.experts.weight].values() if isinstance(t, torch.Tensor))

    def counted(_):
        other, over = made("soap", layout)
        learned(other, over, 2)
        return held_by(over, "soap")

    held = run(2, counted)
    assert sum(held) == total, "no state is kept twice"
    assert max(held) <= max(total / 2, largest)

    def of_muon(_):
        other, over = made("muon", "shards")
        learned(other, over, 1)
        return held_by(over, "muon")

    assert run(2, of_muon) == [sum(w.parameter.numel() for w in roles(model) if w.role in ("hidden", "out")) / 2] * 2


def test_multiplications_of_a_step_are_counted():
    assert products(torch.Size((4, 4)), steps=1) == 3 * 4**3
    assert products(torch.Size((2, 4, 4)), steps=2) == 2 * products(torch.Size((4, 4)), steps=2)
    assert products(torch.Size((4, 16))) == products(torch.Size((16, 4)))
