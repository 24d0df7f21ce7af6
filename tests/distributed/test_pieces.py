"""Every registered part under tensor parallelism: a group of ranks that holds a model together computes what one does, gradients too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from components.core.errors import UserError
from components.core.makers import make
from components.training.strategy import _regions, _sent
from components.training.strategy._pieces import pieces_of
from components.training.strategy._positions import check_positions

sys.path.insert(0, str(Path(__file__).parent))
import pieces


@pytest.mark.parametrize("part", pieces.PARTS)
def test_two_ranks_compute_what_one_does(part):
    host = pieces.host_of(part)
    loss, grads = pieces.step(host.model(), host)
    for theirs, own in pieces.held_by(2, host):
        assert theirs == pytest.approx(loss, rel=1e-13, abs=1e-12)
        assert own.keys() == grads.keys()
        for name, grad in grads.items():
            torch.testing.assert_close(own[name], grad, rtol=1e-9, atol=1e-9, msg=f"{part}: {name}")


OPTIONS = [
    *("attention/gqa n_kv_heads=1", "attention/gqa bias=[q,k,v,out] sinks=true", "attention/gqa gate=headwise qk_norm=layer"),
    *("attention/gqa qk_norm=rms qk_norm_over=full", "attention/gqa qk_norm=rms qk_norm_over=per_head_weight"),
    *(
        "attention/mla bias=[q,kv_down,k_rope,out]",
        "attention/mla q_rank=8",
        "attention/gated_delta_net n_v_heads=8",
        "attention/kda head_v_dim=4",
    ),
    *("attention/hgrn2 output_norm_over=head", "attention/forgetting gate=elementwise n_kv_heads=1"),
    *(
        "ffn/mlp bias=true",
        "ffn/glu bias=true",
        "ffn/moe bias=true shared=glu shared_gate=true",
        "ffn/moe weigh=input z_loss=0.1",
    ),
    *("ffn/moe shared=product_key_memory", "head/linear bias=true", "head/tied bias=true", "head/tied bias=fixed"),
    "head/tied_factorised bias=true down_bias=true activation=gelu norm=layer",
    *("head/mlm output=linear", "position/fire width=8"),
]


@pytest.mark.parametrize("words", OPTIONS)
def test_options_change_nothing_of_it(words):
    part, *options = words.split()
    host = pieces.Host.of(pieces.subject_of(part, options))
    loss, grads = pieces.step(host.model(), host)
    for theirs, own in pieces.held_by(2, host):
        assert theirs == pytest.approx(loss, rel=1e-13, abs=1e-12)
        for name, grad in grads.items():
            torch.testing.assert_close(own[name], grad, rtol=1e-9, atol=1e-9, msg=f"{words}: {name}")


LOSSES = [
    *("next_token", "next_token z_loss=0.1 label_smoothing=0.1", "next_token z_loss=0.1 label_smoothing=0.1 chunk=5"),
    *("masked_lm label_smoothing=0.1", "distillation"),
]


@pytest.mark.parametrize("words", ["head/linear bias=true", "head/linear soft_cap=2", "head/tied bias=true", "head/mlm"])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_logits_that_no_rank_has_whole(words, loss, monkeypatch):
    """Vocabulary-split cross entropy: values and gradients of one process, and nothing puts logits side by side."""
    part, *options = words.split()
    host = pieces.Host.of(pieces.subject_of(part, options))
    name, *given = loss.split()
    teaches = {"teacher": "a run"} if name == "distillation" else {}
    objective = make(
        {"name": name, **teaches, **{k: float(v) if "." in v else int(v) for k, v in (g.split("=") for g in given)}},
        "loss",
        vocab_size=pieces.VOCAB,
    )
    targets = pieces.ids(seed=3)
    targets[:, ::4] = -100
    weights = torch.rand(targets.shape, generator=torch.Generator().manual_seed(1))

    def run(model, host):
        return pieces.step(model, host, objective, targets=targets, weights=weights)

    if teaches:
        objective.attach(host.model(std=0.2))
    else:
        monkeypatch.setattr(_regions, "joined", None)
    whole, grads = run(host.model(), host)
    for theirs, own in pieces.held_by(2, host, run):
        assert theirs == pytest.approx(whole, rel=1e-13, abs=1e-12)
        for n, grad in grads.items():
            torch.testing.assert_close(own[n], grad, rtol=1e-9, atol=1e-9, msg=f"{words}, {loss}: {n}")


def test_a_mixer_within_one_that_is_computed_whole_is_whole():
    with torch.device("meta"):
        model = pieces.host_of("attention/parallel_hybrid").model()
    found = pieces_of(model, 2)
    assert not [path for path in found.summed if "attention" in path]
    assert [path for path in found.summed if "ffn" in path]


@pytest.mark.parametrize("part", pieces.PARTS)
def test_two_ranks_with_half_of_the_positions_each_compute_what_one_does(part):
    host = pieces.host_of(part)
    loss, grads = pieces.step(host.model(), host)
    for theirs, own in pieces.held_by(2, host, sequence_parallel=True):
        assert theirs == pytest.approx(loss, rel=1e-13, abs=1e-12)
        assert own.keys() == grads.keys()
        for name, grad in grads.items():
            torch.testing.assert_close(own[name], grad, rtol=1e-9, atol=1e-9, msg=f"{part}: {name}")


@pytest.mark.parametrize("part", ["attention/mha", "position/t5_bias"])
def test_layers_that_are_computed_twice(part):
    host = pieces.host_of(part)
    loss, grads = pieces.step(host.model(), host)
    for theirs, own in pieces.held_by(2, host, recompute=True):
        assert theirs == pytest.approx(loss, rel=1e-13, abs=1e-12)
        assert all(torch.allclose(own[name], grad, rtol=1e-9, atol=1e-9) for name, grad in grads.items())


EXPERTS = [
    *(
        "ffn/moe",
        "ffn/moe expert=mlp bias=true router=sigmoid_top_k",
        "ffn/moe expert=clamped_glu bias=true weigh=input z_loss=0.1",
    ),
    *(
        "ffn/moe shared=glu shared_gate=true",
        "ffn/moe router=expert_choice",
        "ffn/moe router=hash",
        "ffn/moe n_experts=4 d_ff=15",
    ),
]


@pytest.mark.parametrize("words", EXPERTS)
def test_experts_that_are_dealt_out(words):
    """Each rank has some of the experts whole, and gives their share of the sum."""
    part, *options = words.split()
    host = pieces.Host.of(pieces.subject_of(part, options))
    loss, grads = pieces.step(host.model(), host)
    for theirs, own in pieces.held_by(2, host, expert_parallel=True):
        assert theirs == pytest.approx(loss, rel=1e-13, abs=1e-12)
        assert own.keys() == grads.keys()
        for name, grad in grads.items():
            torch.testing.assert_close(own[name], grad, rtol=1e-9, atol=1e-9, msg=f"{words}: {name}")


def sent(monkeypatch):
    """Rows that each all-to-all of ranks has sent and received, as the ranks call it."""
    seen, away = [], _sent._all_to_all
    monkeypatch.setattr(_sent, "_all_to_all", lambda x, out, back, group: seen.append((out, back)) or away(x, out, back, group))
    return seen


def one(router):
    return {"router": {"name": router, "k": 1}}


TRAVEL = [
    *(one("softmax_top_k"), {"n_experts": 4, "expert": "mlp", "bias": True, **one("sigmoid_top_k")}, {"router": "hash"}),
    {
        "expert": "clamped_glu",
        "bias": True,
        "weigh": "input",
        "z_loss": 0.1,
        "balance_over": "sequence",
        **one("top_k_softmax"),
    },
]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(
    "options",
    TRAVEL,
    ids=lambda options: options["router"] if isinstance(options["router"], str) else options["router"]["name"],
)
def test_tokens_that_travel_to_their_experts(options, recompute, monkeypatch):
    """Each rank has some of the positions and some of the experts: choices, losses and gradients are those of one process, padding too."""
    host = pieces.Host.of(pieces.subject_of("ffn/moe", options))
    valid = torch.ones_like(pieces.ids(), dtype=torch.bool)
    valid[0, -5:] = False

    def run(model, host):
        return pieces.step(model, host, valid=valid)

    loss, grads = run(host.model(), host)
    calls = sent(monkeypatch)
    for theirs, own in pieces.held_by(2, host, run, recompute=recompute, expert_parallel=True, sequence_parallel=True):
        assert theirs == pytest.approx(loss, rel=1e-13, abs=1e-12)
        assert own.keys() == grads.keys()
        for name, grad in grads.items():
            torch.testing.assert_close(own[name], grad, rtol=1e-9, atol=1e-9, msg=name)
    assert calls
    assert any(out != back for out, back in calls), "ranks have other loads"


def test_tokens_that_all_travel_to_one_rank(monkeypatch):
    """The others have no row to compute, and take part all the same; two of eight experts of each token, among four ranks."""
    model = pieces.Host.model

    def lopsided(host, **options):
        made = model(host, **options)
        torch.nn.init.zeros_(
            made.stack.layers[0].block.ffn.router.logits.weight
        )  # all experts are alike: each token takes the same two
        return made

    monkeypatch.setattr(pieces.Host, "model", lopsided)
    host = pieces.Host.of(pieces.subject_of("ffn/moe", {"n_experts": 8, "model.attention": {"name": "mha", "n_heads": 4}}))
    whole, grads = pieces.step(host.model(), host)
    calls = sent(monkeypatch)

    def run(held, host):
        with torch.no_grad():
            read = pieces.total_loss(held(host.batch(pieces.ids()), pieces.objective)).item()
        loss, found = pieces.step(held, host)
        return loss, {**found, "read": torch.tensor(read)}

    for theirs, own in pieces.held_by(4, host, run, expert_parallel=True, sequence_parallel=True):
        assert theirs == pytest.approx(whole, rel=1e-13, abs=1e-12)
        assert own.pop("read").item() == pytest.approx(whole, rel=1e-6), "without gradients each rank reads all"
        assert own.keys() == grads.keys()
        for name, grad in grads.items():
            torch.testing.assert_close(own[name], grad, rtol=1e-9, atol=1e-9, msg=name)
    assert any(not sum(back) for _, back in calls), "no rank is without rows"
    layers = len(host.model().stack.layers)
    assert sum(sum(out) for out, _ in calls) == layers * 4 * 2 * pieces.ids().numel(), "each choice goes there and back, twice"


def test_who_sends_tokens():
    """Fewer numbers decide, and a mixture that reads all tokens anyway sends none."""

    def sending(size, **moe):
        dealt = {"expert_parallel": True, "sequence_parallel": True}
        return len(pieces_of(small(d_model=64, ffn={"name": "moe", "n_experts": 8, "d_ff": 16, **moe}), size, **dealt).sent)

    assert [sending(size) for size in (2, 4)] == [0, 1], "two experts of each token"
    assert sending(2, **one("softmax_top_k")) == 1
    assert sending(4, n_experts=64) == 0, "what is told of 64 experts is more than is spared"
    assert sending(4, **one("sinkhorn")) == sending(4, shared="glu") == 0
    moe = small(ffn={"name": "moe", "n_experts": 8, "d_ff": 16})
    assert not pieces_of(moe, 4, expert_parallel=True).sent, "each rank has all positions"


def small(**changes):
    options = {"d_model": 32, "n_layers": 1, "attention": {"name": "gqa", "n_heads": 4}, "ffn": {"name": "glu", "d_ff": 30}}
    with torch.device("meta"):
        return make({"name": "decoder", **options, **changes}, "model", vocab_size=41)


def test_what_does_not_divide_is_named():
    with pytest.raises(UserError, match=r"stack\.layers\.0\.block\.ffn: d_ff=30 does not divide into pieces for 4"):
        pieces_of(small(), 4)
    with pytest.raises(UserError, match=r"block\.attention: heads=4"):
        pieces_of(small(ffn={"name": "glu", "d_ff": 24}), 8)


def test_positions_that_do_not_divide_and_blocks_of_others_are_refused():
    with pytest.raises(UserError, match=r"sequence_parallel: 30 positions do not divide among 4 devices"):
        check_positions(small(context_length=30), 4)
    model = small()
    model.stack.layers[0].block = torch.nn.Identity()
    with pytest.raises(UserError, match=r"stack\.layers\.0: nothing is known of what Identity does with positions"):
        check_positions(model, 2)


def test_experts_that_cannot_be_dealt_out_are_refused():
    moe = {"name": "moe", "n_experts": 6, "d_ff": 15}
    assert pieces_of(small(ffn=moe), 2, expert_parallel=True).cut
    with pytest.raises(UserError, match=r"block\.ffn: d_ff=15 does not divide"):
        pieces_of(small(ffn=moe), 2)
    with pytest.raises(UserError, match=r"block\.ffn: experts=6 does not divide into pieces for 4"):
        pieces_of(small(ffn=moe), 4, expert_parallel=True)
    with pytest.raises(UserError, match=r"expert_parallel: no part of this model has experts"):
        pieces_of(small(ffn={"name": "glu", "d_ff": 24}), 2, expert_parallel=True)
    with pytest.raises(UserError, match=r"the mixture of .*block\.ffn\.gate\.weight is computed whole: it does not say"):
        pieces_of(small(ffn={**moe, "shared": "product_key_memory"}), 2, expert_parallel=True)


def test_a_vocabulary_that_does_not_divide_stays_whole():
    found = pieces_of(small(), 2)
    assert not found.joined
    assert not found.looked_up
    assert found.whole == dict.fromkeys(("embedding", "head"), "the vocabulary is no multiple of 2")
    assert set(found.summed) == {"stack.layers.0.block.attention", "stack.layers.0.block.ffn"}


def test_the_page_has_the_table():
    text = pieces.PAGE.read_text(encoding="utf8")
    assert text == pieces.page(text), "python tests/distributed/pieces.py --write"
