"""What flows between parts: terms through a pytree map, the memo of an info, positions of a cached call, a prefix."""

from __future__ import annotations

import pytest
import torch
from hosts import decoder, ids, scramble
from torch.utils import _pytree as pytree

from components import build
from components.core.sockets import Batch, SequenceInfo, Terms

PREFIX = torch.tensor([3, 5])


def test_aim_stays_through_a_map_over_tensors():
    terms = Terms({"loss": (torch.ones(()), torch.ones(())), "z": (torch.ones(()), torch.ones(()))}, {}, {"z": 1e-4})
    doubled = pytree.tree_map(lambda t: t.mul(2), terms)
    assert doubled.aim == {"z": 1e-4}
    assert doubled.losses["z"][0] == 2


def test_terms_leave_a_compiled_model_whole():
    def objective(hidden, *_):
        return Terms({"size": (hidden.float().square().sum(), torch.ones(()))}, {}, {"size": 0.5})

    model = scramble(decoder())
    torch._dynamo.reset()
    terms = torch.compile(model, fullgraph=True, backend="eager")(Batch(ids()), objective)
    assert terms.aim == {"size": 0.5}


@pytest.mark.parametrize(
    "changes",
    [
        {"ids": ids()},
        {"positions": torch.arange(12)[None]},
        {"documents": ids()},
        {"valid": ids() > 0},
        {"token_types": ids()},
        {"prefix": PREFIX},
        {"causal": False},
    ],
    ids=lambda c: next(iter(c)),
)
def test_what_was_computed_from_a_field_goes_with_it(changes):
    info = SequenceInfo(ids())
    info.once("known", lambda: 1)
    assert info.with_(out={}, visit=2).once("known", lambda: 2) == 1
    assert info.with_(**changes).once("known", lambda: 2) == 2
    assert info.once("known", lambda: 2) == 1


@pytest.mark.parametrize("kept", ["valid", "documents"])
def test_a_cache_with_padding_or_documents_cannot_count_positions(kept):
    model, cache = scramble(decoder()), build("cache", "growing")
    values = ids()
    given = torch.ones_like(values)
    model(Batch(values[:, :4], **{kept: given[:, :4] == 1 if kept == "valid" else given[:, :4]}), cache=cache)
    with pytest.raises(ValueError, match="give positions"):
        model(values[:, 4:5], cache=cache)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=["fused", "products"])
def test_a_prefix_is_seen_by_all_and_hides_what_follows(dtype):
    model = scramble(decoder(), 0.3).to(dtype)
    values = ids()
    before = model(Batch(values, prefix=PREFIX))
    for at in range(values.shape[1]):
        changed = values.clone()
        changed[:, at] = (changed[:, at] + 1) % 40
        same = (model(Batch(changed, prefix=PREFIX)) == before).all(-1)
        for row, prefix in enumerate(PREFIX.tolist()):
            unseen = 0 if at < prefix else at  # columns to the left that cannot know of the change
            assert same[row, :unseen].all()
            assert not same[row, unseen]


def test_a_prefix_reaches_decoding():
    model = scramble(decoder(), 0.3)
    greedy = build("decoding", "greedy")
    batch = Batch(ids(2, 6), prefix=PREFIX)
    sizes = dict(max_new_tokens=4, stop_ids=(), generator=torch.Generator().manual_seed(0))
    cached = greedy.generate(model, batch, cache=build("cache", "growing"), **sizes)
    with torch.no_grad():
        assert torch.equal(model(Batch(cached, prefix=PREFIX))[:, 5:-1].argmax(-1), cached[:, 6:])
    assert torch.equal(cached, greedy.generate(model, batch, cache=None, **sizes))


def test_batches_are_moved_with_their_prefix():
    moved = Batch(ids(), prefix=PREFIX).to("meta")
    assert moved.prefix.is_meta
