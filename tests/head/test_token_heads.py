"""Heads that give logits at each position: their options by formula, their weights, and what they hold once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from components import build
from components.compose import compose
from components.core.errors import UserError
from components.core.flops import Work, flops_of
from components.core.sockets import Batch, SequenceInfo
from components.core.weights import initialise, roles
from components.functional.decode_products import decoding_form
from components.training.objectives import need_logits

V, D = 13, 8
SIZES = {"vocab_size": V, "d_model": D, "n_layers": 1, "context_length": 6}
IDS = torch.randint(0, V, (2, 6), generator=torch.Generator().manual_seed(0))


def model(head, seed: int = 1, **others) -> nn.Module:
    made = build("model", "decoder", **SIZES, attention={"name": "mha", "n_heads": 2}, head=head, **others).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.5)
    return made


def through(head, **others) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """(model, the vectors that its head gets, the logits that come out)."""
    made = model(head, **others)
    kept = []
    made.head.register_forward_hook(lambda _, args, out: kept.extend((args[0], out)))
    made(IDS)
    return made, kept[0].detach(), kept[1].detach()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("option", "factor"), [(1.0, 1.0), (0.0625, 0.0625), ("rsqrt", D**-0.5)])
@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("name", ["linear", "tied"])
def test_bias_multiplier_and_cap(name, bias, option, factor, cap):
    made, x, logits = through({"name": name, "bias": bias, "multiplier": option, "soft_cap": cap})
    matrix = made.embedding.table.weight if name == "tied" else made.head.logits.weight
    expected = factor * (x @ matrix.T)
    if bias:
        expected = expected + (made.head.bias if name == "tied" else made.head.logits.bias)
    if cap:
        expected = cap * torch.tanh(expected / cap)
        assert logits.abs().max() < cap
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize(("option", "factor"), [(0.25, 0.25), ("rsqrt", 3**-0.5)])
def test_a_factorised_tied_head_narrows_first(option, factor):
    """project_out, then the table, as OPT with 350 million parameters."""
    head = {"name": "tied_factorised", "down_bias": True, "bias": True, "multiplier": option, "soft_cap": 3.0}
    made, x, logits = through(head, embedding={"name": "factorised", "width": 3})
    narrow = factor * F.linear(x, made.head.down.weight, made.head.down.bias)
    torch.testing.assert_close(logits, 3 * torch.tanh((narrow @ made.embedding.tokens.weight.T + made.head.bias) / 3))
    assert made.head.down.weight.shape == (3, D)
    assert {w.name: w.role for w in roles(made) if w.name.startswith("head")} == {
        "head.down.weight": "hidden",
        "head.down.bias": "bias",
        "head.bias": "bias",
    }


def test_a_factorised_tied_head_may_be_a_transform():
    """dense, gelu, LayerNorm at the table's width, then the table with a bias: ElectraGeneratorPredictions, AlbertMLMHead."""
    head = {"name": "tied_factorised", "down_bias": True, "bias": True, "activation": "gelu", "norm": "layer"}
    made, x, logits = through(head, embedding={"name": "factorised", "width": 3})
    own = made.head
    y = F.layer_norm(F.gelu(F.linear(x, own.down.weight, own.down.bias)), (3,), own.norm.weight, own.norm.bias, 1e-5)
    torch.testing.assert_close(logits, y @ made.embedding.tokens.weight.T + own.bias)


@pytest.mark.parametrize("bias", [False, True])
def test_a_value_head_may_have_a_dense_layer(bias):
    """ElectraDiscriminatorPredictions."""
    made, x, scores = through({"name": "value", "dense": True, "activation": "relu", "bias": bias})
    own = made.head
    torch.testing.assert_close(
        scores, F.linear(F.relu(F.linear(x, own.dense.weight, own.dense.bias)), own.amounts.weight, own.amounts.bias)
    )
    assert scores.shape == (*IDS.shape, 1)


def test_a_factorised_tied_head_and_the_embedding_train_one_table():
    made = model("tied_factorised", embedding={"name": "factorised", "width": 3})
    assert [n for n in made.state_dict() if n.startswith("head")] == ["head.down.weight"]
    absent = next(t for t in range(V) if t not in IDS[0])  # its row is read by the head alone
    made(IDS[:1]).square().sum().backward()
    assert made.embedding.tokens.weight.grad[absent].abs().sum() > 0


def test_a_factorised_tied_head_decodes_from_laid_out_weights():
    made = model("tied_factorised", embedding={"name": "factorised", "width": 3})
    with torch.no_grad():
        plain = made(IDS)
        for how, close in (("same", 1e-5), ("bf16", 3e-2)):
            with decoding_form(made, how, 100):
                assert {"product"} <= vars(made.head).keys()
                assert {"forward"} <= vars(made.head.down).keys()
                assert (made(IDS) - plain).abs().max() <= close * plain.abs().max()


def test_a_factorised_tied_head_needs_a_narrow_table():
    with pytest.raises(UserError, match="needs narrow_table of its embedding"):
        compose("llama_tiny", ["model/head=tied_factorised"])


def test_a_fixed_bias_is_kept_but_not_trained():
    made = model({"name": "tied", "bias": "fixed"})
    assert [n for n, _ in made.named_parameters() if n.startswith("head")] == []
    assert "head.bias" in made.state_dict()
    before = made(IDS)
    with torch.no_grad():
        made.head.bias.copy_(torch.arange(V))
    torch.testing.assert_close(made(IDS) - before, torch.arange(V).float().expand_as(before))
    initialise(made, made.init, seed=0)
    assert not made.head.bias.any()


def test_without_a_head_the_hidden_vectors_come_out():
    made, x, out = through("none")
    assert torch.equal(x, out)
    assert out.shape == (*IDS.shape, D)
    assert not [n for n in made.state_dict() if n.startswith("head")]
    with pytest.raises(UserError, match="needs logits"):
        need_logits(made, build("loss", "next_token", vocab_size=V))
    need_logits(model("linear"), build("loss", "next_token", vocab_size=V))


def test_numbers_are_no_logits():
    """Else the loss would index a row of one number by tokens."""
    for loss in ("next_token", "masked_lm", "dpo"):
        with pytest.raises(UserError, match="gives amounts"):
            need_logits(model("value"), build("loss", loss, vocab_size=V))
    need_logits(model("value"), build("loss", "reward"))


def test_a_tied_head_holds_its_bias_and_nothing_else():
    made = model({"name": "tied", "bias": True})
    assert [n for n, _ in made.named_parameters() if n.startswith("head")] == ["head.bias"]
    assert next(w.role for w in roles(made) if w.name == "head.bias") == "bias"
    initialise(made, made.init, seed=0)
    assert not made.head.bias.any()
    with torch.device("meta"):
        hollow = build("model", "decoder", **SIZES, head={"name": "tied", "bias": True})
    hollow = hollow.to_empty(device="cpu")
    initialise(hollow, hollow.init, seed=0)
    assert not hollow.head.bias.any()


def test_mlm_is_berts_transform():
    """dense, gelu, LayerNorm, then the embedding's own matrix with a bias: BertLMPredictionHead."""
    made, x, logits = through({"name": "mlm", "output": {"name": "tied", "bias": True}})
    head = made.head
    y = F.layer_norm(F.gelu(F.linear(x, head.dense.weight, head.dense.bias)), (D,), head.norm.weight, head.norm.bias, 1e-5)
    torch.testing.assert_close(logits, F.linear(y, made.embedding.table.weight, head.output.bias))
    assert {w.name: w.role for w in roles(made) if w.name.startswith("head")} == {
        "head.dense.weight": "hidden",
        "head.dense.bias": "bias",
        "head.norm.weight": "scale",
        "head.norm.bias": "bias",
        "head.output.bias": "bias",
    }


def test_mlm_with_a_matrix_of_its_own():
    made, x, logits = through({"name": "mlm", "activation": "relu", "norm": "none", "dense_bias": False, "output": "linear"})
    torch.testing.assert_close(logits, F.relu(x @ made.head.dense.weight.T) @ made.head.output.logits.weight.T)


def test_multi_token_predicts_further_ahead_on_request():
    made, x, logits = through({"name": "multi_token", "n_ahead": 2, "output": {"name": "tied", "bias": True}})
    head, info = made.head, SequenceInfo(IDS)
    torch.testing.assert_close(logits, head.output(x))
    for k in (1, 2):
        step = head.ahead[k - 1]
        y = x + F.silu(F.linear(F.rms_norm(x, (D,), step.norm.weight, 1e-6), step.dense.weight))
        torch.testing.assert_close(head(x, info, ahead=k), head.output(y))
    with pytest.raises(ValueError, match="ahead=3: this head predicts 0 to 2"):
        head(x, info, ahead=3)


def test_value_is_one_number_at_each_position():
    made, x, values = through("value")
    assert values.shape == (2, 6, 1)
    torch.testing.assert_close(values[..., 0], x @ made.head.amounts.weight[0] + made.head.amounts.bias)
    drops = build("head", "value", d_model=D, dropout=0.5).train()
    assert (drops(torch.ones(1, 400, D), SequenceInfo()).unique().numel()) > 2
    assert drops.eval()(torch.ones(1, 400, D), SequenceInfo()).unique().numel() == 1


@pytest.mark.parametrize(
    "head",
    ["linear", "tied", "value", "multi_token", "mlm", {"name": "mlm", "output": "linear"}, {"name": "tied", "bias": True}],
)
def test_flops_are_those_that_are_counted(head):
    made = model(head)
    for t in (3, 6):
        x = torch.randn(1, t, D)
        with FlopCounterMode(display=False) as counter:
            made.head(x, SequenceInfo(IDS[:1, :t]))
        assert flops_of(made.head, Work(t)) == (counter.get_total_flops(),) * 2


@pytest.mark.parametrize("head", ["value", "multi_token"])
def test_gradient_round_trip_and_meta(head):
    made = model(head)
    info = SequenceInfo(IDS)
    x = torch.randn(2, 6, D, dtype=torch.float64)
    part = made.double().head
    out = part(x, info) if head == "value" else sum(part(x, info, ahead=k).square() for k in range(4))
    out.square().sum().backward()
    assert all((p.grad != 0).double().mean() >= 0.99 for p in part.parameters())
    other = model(head, seed=2).double()
    other.load_state_dict(made.state_dict())
    assert torch.equal(other(Batch(IDS)), made(Batch(IDS)))
    direct = build("model", "decoder", **SIZES, head=head)
    with torch.device("meta"):
        hollow = build("model", "decoder", **SIZES, head=head)
    hollow = hollow.to_empty(device="cpu")
    for each in (direct, hollow):
        initialise(each, each.init, seed=5)
    for (name, a), b in zip(direct.state_dict().items(), hollow.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
