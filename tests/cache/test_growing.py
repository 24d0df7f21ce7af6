"""growing: what a slot gives equals a naive concatenation, through snapshots, restores and reorderings in any order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from components import build
from components.core.sockets import SequenceInfo

A, B = nn.Identity(), nn.Identity()


def step(cache, positions, *, rows=2, documents=None, valid=None, modules=((A, 0), (A, 1), (B, 0)), seed=0):
    """One forward: every module appends keys that tell their place; returns what each got."""
    t = positions.shape[1]
    info = SequenceInfo(ids=torch.zeros(rows, t, dtype=torch.long), positions=positions, documents=documents, valid=valid)
    cache.open(info)
    got = {}
    for i, (module, visit) in enumerate(modules):
        k = torch.randn(rows, 2, t, 3, generator=torch.Generator().manual_seed(1000 * seed + i))
        got[module, visit] = (k, *cache.slot(module, visit).append(k, k[..., :2] + 1, info))
    return got


def test_equals_a_naive_concatenation():
    cache = build("cache", "growing")
    naive, at = {}, 0
    for seed, t in enumerate([5, 1, 1, 60, 1, 70, 1]):
        got = step(cache, torch.arange(at, at + t)[None], seed=seed)
        at += t
        for key, (new, k, v, info) in got.items():
            naive[key] = torch.cat([naive[key], new], 2) if key in naive else new
            assert torch.equal(k, naive[key])
            assert torch.equal(v, naive[key][..., :2] + 1)
            assert torch.equal(info.positions, torch.arange(at)[None])
            assert info.documents is None
            assert info.valid is None
        assert cache.length == at
    assert not torch.equal(naive[A, 0], naive[A, 1])


def test_the_first_call_gives_its_own_arguments_back():
    cache = build("cache", "growing")
    info = SequenceInfo(positions=torch.arange(3)[None])
    cache.open(info)
    k = torch.randn(2, 2, 3, 4)
    got = cache.slot(A).append(k, k, info)
    assert got[0] is k
    assert got[2] is info


def test_padding_and_documents_that_come_late_are_filled():
    cache = build("cache", "growing")
    step(cache, torch.arange(2)[None])
    valid, documents = torch.tensor([[False, True], [True, True]]), torch.tensor([[0, 1], [1, 1]])
    (_, _, _, info) = step(cache, torch.tensor([[2, 2], [2, 3]]), valid=valid, documents=documents)[A, 0]
    assert info.positions.tolist() == [[0, 1, 2, 2], [0, 1, 2, 3]]
    assert info.valid.tolist() == [[True, True, False, True], [True] * 4]
    assert info.documents.tolist() == [[0, 0, 0, 1], [0, 0, 1, 1]]
    (_, _, _, info) = step(cache, torch.tensor([[4]]), documents=torch.tensor([[1], [1]]))[A, 0]
    assert info.positions.tolist() == [[0, 1, 2, 2, 4], [0, 1, 2, 3, 4]]
    assert info.valid[:, -1].all()
    with pytest.raises(ValueError, match="say to which"):
        step(cache, torch.tensor([[5]]))


def test_two_visits_into_one_slot_are_a_fault():
    cache = build("cache", "growing")
    with pytest.raises(RuntimeError, match="visit"):
        step(cache, torch.arange(2)[None], modules=((A, 0), (A, 0)))


def test_no_gradient_is_kept():
    cache = build("cache", "growing")
    for at in (0, 1):
        info = SequenceInfo(positions=torch.tensor([[at]]))
        cache.open(info)
        k = torch.randn(1, 1, 1, 2, requires_grad=True)
        keys, _, _ = cache.slot(A).append(k, k, info)
    assert not keys.requires_grad


def test_one_token_appends_do_not_copy():
    cache = build("cache", "growing")
    step(cache, torch.arange(10)[None])
    before = cache.slot(A).keys.data.data_ptr()
    for at in range(10, 40):
        (_, k, _, _) = step(cache, torch.tensor([[at]]))[A, 0]
        assert k.data_ptr() == before


def test_state_is_snapshot_and_reordered():
    cache = build("cache", "growing")
    step(cache, torch.arange(2)[None])
    memory = SequenceInfo(positions=torch.arange(4)[None], valid=torch.tensor([[True] * 4, [False] * 4]))
    cache.slot(B).state.update(h=torch.tensor([[1.0], [2.0]]), encoded=(torch.zeros(2, 4, 3), memory), count=3)
    taken = cache.snapshot()
    cache.slot(B).state["h"] = cache.slot(B).state["h"] * 10
    cache.reorder(torch.tensor([1, 1, 0]))
    state = cache.slot(B).state
    assert state["h"].tolist() == [[20.0], [20.0], [10.0]]
    assert state["encoded"][1].valid[:, 0].tolist() == [False, False, True]
    assert state["encoded"][1].positions.shape == (1, 4)
    assert state["count"] == 3
    cache.restore(taken)
    assert cache.slot(B).state["h"].tolist() == [[1.0], [2.0]]
    assert cache.slot(A).keys.read().shape[0] == 2


def test_a_slot_that_came_after_the_snapshot_is_forgotten():
    cache = build("cache", "growing")
    empty = cache.snapshot()
    step(cache, torch.arange(3)[None])
    cache.restore(empty)
    assert cache.length == 0
    (new, k, _, _) = step(cache, torch.arange(1)[None], seed=7)[A, 0]
    assert torch.equal(k, new)


def test_bytes_counts_buffers_and_states():
    cache = build("cache", "growing")
    assert cache.bytes() == 0
    step(cache, torch.arange(3)[None], modules=((A, 0),))
    cache.slot(A).state["h"] = torch.zeros(5)
    assert cache.bytes() == 64 * 2 * 2 * (3 + 2) * 4 + 64 * 8 + 5 * 4


actions = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 40)),
        st.tuples(st.just("snapshot"), st.just(0)),
        st.tuples(st.just("restore"), st.integers(0, 5)),
        st.tuples(st.just("reorder"), st.lists(st.integers(0, 5), min_size=1, max_size=4)),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(actions)
def test_any_order_of_appends_snapshots_restores_and_reorders(script):
    cache = build("cache", "growing")
    rows = 2
    keys, positions = torch.zeros(2, 2, 0, 3), torch.zeros(2, 0, dtype=torch.long)
    taken = []
    for seed, (what, n) in enumerate(script, 1):
        if what == "append":
            new = torch.arange(rows * n).view(rows, n) + 100 * seed
            got = step(cache, new, rows=rows, seed=seed, modules=((A, 0),))[A, 0]
            keys, positions = torch.cat([keys, got[0]], 2), torch.cat([positions, new], 1)
            assert torch.equal(got[1], keys)
            assert torch.equal(got[3].positions, positions)
        elif what == "snapshot":
            taken.append((cache.snapshot(), keys, positions, rows))
        elif what == "restore" and taken:
            snapshot, keys, positions, rows = taken[n % len(taken)]
            cache.restore(snapshot)
        elif what == "reorder" and keys.shape[2]:
            order = torch.tensor([i % rows for i in n])
            cache.reorder(order)
            keys, positions, rows = keys[order], positions[order], len(order)
        assert cache.length == keys.shape[2]
        if keys.shape[2]:
            assert torch.equal(cache.slot(A).keys.read(), keys)
            assert torch.equal(cache.slot(A).values.read(), keys[..., :2] + 1)
