"""Every registered part under tensor parallelism: a group of ranks that holds a model together computes what one does, gradients too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from components.core.errors import UserError
from components.core.makers import make
from components.training.strategy import _regions
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
