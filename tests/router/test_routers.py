"""Routers: who is chosen, by how much, and what a correction learns."""

from __future__ import annotations

import pytest
import torch

from components import build
from components.compose import compose
from components.core.errors import UserError
from components.core.sockets import SequenceInfo

D, E = 8, 6


def made(name, **options):
    router = build("router", name, d_model=D, n_experts=E, **options).double()
    with torch.no_grad():
        for p in router.parameters():
            p.normal_(0.0, 1.0, generator=torch.Generator().manual_seed(4))
    return router


def inputs(rows=2, length=20):
    return torch.randn(rows, length, D, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def info(rows=2, length=20, **changes):
    return SequenceInfo(ids=torch.arange(rows * length).view(rows, length), **changes)


@pytest.mark.parametrize("name", ["softmax_top_k", "top_k_softmax", "sigmoid_top_k", "hash", "sinkhorn"])
@pytest.mark.parametrize("k", [1, 3])
def test_every_token_has_k_different_experts(name, k):
    router = made(name, k=k)
    routing = router(inputs(), info())
    assert routing.experts.shape == (router.choices(40),) == (40 * k,)
    assert routing.tokens.tolist() == [t for t in range(40) for _ in range(k)]
    assert all(len(set(e)) == k for e in routing.experts.view(40, k).tolist())
    assert routing.experts.max() < E
    assert (routing.weights > 0).all()
    sums = routing.weights.view(40, k).sum(-1)
    if name not in ("sinkhorn",):
        torch.testing.assert_close(sums, torch.ones_like(sums))
    if routing.probabilities is not None:
        torch.testing.assert_close(routing.probabilities.sum(-1), torch.ones(40, dtype=torch.float64))


@pytest.mark.parametrize("name", ["softmax_top_k", "top_k_softmax", "sigmoid_top_k", "hash", "sinkhorn", "expert_choice"])
def test_padding_chooses_and_is_chosen_by_nobody(name):
    router, x = made(name), inputs()
    valid = torch.ones(2, 20, dtype=torch.bool)
    valid[0, :7] = False
    routing = router(x, info(valid=valid))
    assert set(routing.tokens[routing.kept].tolist()) <= set(valid.flatten().nonzero().flatten().tolist())
    if name == "expert_choice":
        assert routing.load().tolist() == [router.taken(33)] * E
        alone = router(x.flatten(0, 1)[None, valid.flatten()], SequenceInfo())
        torch.testing.assert_close(routing.weights[routing.kept], alone.weights)
    else:
        assert int(routing.kept.sum()) == router.choices(33)


def test_top_k_softmax_is_softmax_top_k_renormalised():
    a, b = made("top_k_softmax", k=3)(inputs(), info()), made("softmax_top_k", k=3)(inputs(), info())
    assert torch.equal(a.experts, b.experts)
    torch.testing.assert_close(a.weights, b.weights)


def test_the_correction_moves_against_the_load_and_stays_out_of_the_weights():
    router, x = made("sigmoid_top_k", k=2, rate=0.1), inputs()
    here = info()
    before = router(x, here)
    load = here.out["stat..load"]
    assert torch.equal(load, before.load())
    router.after_step({".load": load})
    assert torch.equal(router.correction, 0.1 * torch.sign(load.mean() - load).double())
    router.correction.copy_(torch.tensor([50.0, 40.0, 0, 0, 0, 0]))
    routing = router(x, info())
    assert routing.experts.view(-1, 2).tolist() == [[0, 1]] * 40
    scores = torch.sigmoid(router.logits(x)).flatten(0, 1)[:, :2]
    torch.testing.assert_close(routing.weights.view(-1, 2), scores / scores.sum(-1, keepdim=True))


def test_the_correction_evens_the_load():
    router = made("sigmoid_top_k", k=2, rate=0.02)
    x = inputs(4, 60) + 0.7
    loads = []
    for _ in range(80):
        here = info(4, 60)
        loads.append(router(x, here).load())
        router.after_step({".load": here.out["stat..load"]})
    assert loads[0].max() > 1.4 * 80
    assert loads[-1].max() < 1.15 * 80


def test_without_a_rate_nothing_is_written_and_nothing_moves():
    router, here = made("sigmoid_top_k", rate=0.0), info()
    router(inputs(), here)
    assert not here.out
    router.after_step({".load": torch.arange(float(E))})
    assert (router.correction == 0).all()


def test_without_a_correction_there_is_none_to_keep_and_the_greatest_logits_are_chosen():
    router, here, x = made("sigmoid_top_k", k=2, corrected=False, renormalise=False), info(), inputs()
    routing = router(x, here)
    assert "correction" not in router.state_dict()
    assert not here.out
    best, chosen = router.logits(x).flatten(0, 1).topk(2, -1)
    assert torch.equal(routing.experts.view(-1, 2), chosen)
    torch.testing.assert_close(routing.weights.view(-1, 2), torch.sigmoid(best))
    router.reset_parameters()
    router.after_step({".load": torch.arange(float(E))})


@pytest.mark.parametrize("capacity", [0.5, 2.0, 9.0])
def test_experts_choose_their_best_tokens(capacity):
    router, x = made("expert_choice", capacity=capacity), inputs()
    routing = router(x, info())
    taken = min(40, -(-int(40 * capacity) // E))
    assert routing.experts.shape == (router.choices(40),) == (taken * E,)
    scores = router.logits(x).flatten(0, 1).softmax(-1)
    for e in range(E):
        mine = routing.tokens[routing.experts == e]
        assert len(set(mine.tolist())) == taken
        others = torch.ones(40, dtype=torch.bool)
        others[mine] = False
        assert not others.any() or scores[mine, e].min() >= scores[others, e].max()
        torch.testing.assert_close(routing.weights[routing.experts == e], scores[mine, e])


def test_expert_choice_is_refused_where_nobody_may_see_the_future():
    chosen = ["model/ffn=moe", "model.ffn.router=expert_choice"]
    with pytest.raises(UserError, match="router/expert_choice needs bidirectional of its model"):
        compose("llama_tiny", chosen)
    compose("llama_tiny", ["model=encoder", "loss=masked_lm", "model.d_model=64", *chosen])


def test_hashes_are_even_and_fixed_and_differ_by_seed():
    ids = torch.arange(6000).view(1, -1)
    x = torch.zeros(1, 6000, D)
    first = build("router", "hash", n_experts=E, d_model=D)(x, SequenceInfo(ids=ids))
    again = build("router", "hash", n_experts=E, d_model=D)(x, SequenceInfo(ids=ids))
    other = build("router", "hash", n_experts=E, d_model=D, seed=1)(x, SequenceInfo(ids=ids))
    assert torch.equal(first.experts, again.experts)
    for routing in (first, other):
        assert (routing.load() / 1000 - 1).abs().max() < 0.1
    # independent of one another, and from one id to the next
    assert abs((first.experts == other.experts).double().mean() - 1 / E) < 0.03
    assert abs((first.experts[1:] == first.experts[:-1]).double().mean() - 1 / E) < 0.03


def test_hash_without_ids_says_so():
    with pytest.raises(ValueError, match="this batch has none"):
        made("hash")(inputs(), SequenceInfo())


def test_sinkhorn_is_even_in_training_and_plain_otherwise():
    router = made("sinkhorn", k=1, iterations=30)
    x = inputs(4, 60) + 0.5
    plain = router.eval()(x, info(4, 60))
    torch.testing.assert_close(plain.experts, router.logits(x).flatten(0, 1).argmax(-1))
    even = router.train()(x, info(4, 60))
    assert plain.load().max() > 1.5 * 40
    assert even.load().max() < 1.3 * 40
    weights = torch.sigmoid(router.logits(x).flatten(0, 1).gather(-1, even.experts[:, None]))
    torch.testing.assert_close(even.weights[:, None], weights)
    # what it evens out: exp(logits + prices), every row scaled to 1, gives each expert the same
    logits = router.logits(x).flatten(0, 1)
    shares = (logits + router.prices(logits, None)).softmax(-1).sum(0)
    torch.testing.assert_close(shares, torch.full_like(shares, 240 / E), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", ["softmax_top_k", "top_k_softmax", "sigmoid_top_k", "hash", "sinkhorn"])
def test_more_experts_than_there_are(name):
    with pytest.raises(UserError, match="k=7 experts are asked of 6"):
        made(name, k=7)
