"""Feed-forward parts: formulas, widths, and one list of activations."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from components import build
from components.core import registry
from components.core.errors import UserError
from components.core.sockets import Place, SequenceInfo
from components.functional.activations import ACTIVATIONS

INFO = SequenceInfo()
SELU = (1.0507009873554805, 1.6732632423543772)
FORMULAS = {
    "relu": lambda x: x.clamp(min=0),
    "relu2": lambda x: x.clamp(min=0) ** 2,
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "elu": lambda x: torch.where(x > 0, x, x.exp() - 1),
    "selu": lambda x: SELU[0] * torch.where(x > 0, x, SELU[1] * (x.exp() - 1)),
    "gelu": lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "quick_gelu": lambda x: x / (1 + (-1.702 * x).exp()),
    "silu": lambda x: x / (1 + (-x).exp()),
    "mish": lambda x: x * torch.tanh((1 + x.exp()).log()),
    "softplus": lambda x: (1 + x.exp()).log(),
    "softsign": lambda x: x / (1 + x.abs()),
    "hard_swish": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "tanh": lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
    "identity": lambda x: x,
}
WITH_ACTIVATION = ("mlp", "glu", "multiplied_glu", "sparse_glu", "low_rank", "moe", "per_layer_input")


def drawn(name, **options):
    part = build("ffn", name, **{"d_model": 8, **options}).double()
    with torch.no_grad():
        for p in part.parameters():
            p.normal_(0.0, 0.7, generator=torch.Generator().manual_seed(1))
    return part


def inputs(*shape):
    return torch.randn(*shape, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_formulas(name):
    bend, x = FORMULAS[name], inputs(2, 3) * 2
    mlp, glu = drawn("mlp", activation=name, bias=True), drawn("glu", activation=name)
    torch.testing.assert_close(mlp(x, INFO), mlp.out(bend(mlp.up(x))))
    torch.testing.assert_close(glu(x, INFO), glu.out(bend(glu.gate(x)) * glu.up(x)))
    times = drawn("multiplied_glu", activation=name, bias=True, gate_multiplier=0.6, out_multiplier=1.7)
    torch.testing.assert_close(times(x, INFO), 1.7 * times.out(bend(0.6 * times.gate(x)) * times.up(x)))
    thin = drawn("low_rank", activation=name, rank=3)
    up, out = thin.up.weight @ thin.down.weight, thin.out.weight @ thin.narrow.weight
    torch.testing.assert_close(thin(x, INFO), bend(x @ up.t()) @ out.t())


@pytest.mark.parametrize("part", WITH_ACTIVATION)
def test_all_offer_every_activation(part):
    assert set(registry.entry("ffn", part).signature.options["activation"].type.allowed) == set(ACTIVATIONS)


def test_no_other_part_has_a_list_of_its_own():
    entries = [e for (kind, _), e in registry.entries("ffn").items() if "activation" in e.signature.options]
    assert {e.name for e in entries if e.origin == "components"} == set(WITH_ACTIVATION)


def test_widths():
    assert build("ffn", "mlp", d_model=12).up.weight.shape == (48, 12)
    assert build("ffn", "mlp", d_model=12, d_ff=20).out.weight.shape == (12, 20)
    assert build("ffn", "glu", d_model=384).gate.weight.shape == (1024, 384)
    assert build("ffn", "clamped_glu", d_model=384).gate.weight.shape == (1024, 384)
    assert build("ffn", "channel_mix", d_model=12, widen=3.5).key.weight.shape == (42, 12)
    mlp, glu, thin = (sum(p.numel() for p in build("ffn", n, d_model=768).parameters()) for n in ("mlp", "glu", "low_rank"))
    assert glu == mlp
    assert thin == mlp * 5 / 8


def test_clamped_glu_keeps_its_limits():
    part, x = drawn("clamped_glu", bias=True), inputs(2, 30) * 8
    gate, up = part.gate(x), part.up(x)
    assert (gate > 7).any()
    assert (up < -7).any()
    gate, up = torch.where(gate > 7, 7.0, gate), torch.where(up.abs() > 7, 7.0 * up.sign(), up)
    torch.testing.assert_close(part(x, INFO), part.out((up + 1) * gate * FORMULAS["sigmoid"](1.702 * gate)))


@pytest.mark.parametrize("activation", ["gelu_tanh", "relu2"])
def test_a_per_layer_input_is_gated_by_the_stream(activation):
    part, x = drawn("per_layer_input", place=Place(1, 3), width=3, activation=activation), inputs(2, 4)
    vectors = torch.randn(2, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    said = part(x, SequenceInfo(carry={"layer_vectors": vectors}))
    torch.testing.assert_close(said, part.out(FORMULAS[activation](part.gate(x)) * vectors[:, :, 1]))


@pytest.mark.parametrize(("sparsity", "c"), [(0.95, 1.6448536269514722), (0.5, 0.0), (0.2, -0.8416212335729143)])
def test_a_sparse_glu_keeps_what_stands_out(sparsity, c):
    part, x = drawn("sparse_glu", sparsity=sparsity, bias=True, d_ff=50), inputs(2, 3)
    gate = part.gate(x)
    mean = gate.sum(-1, keepdim=True) / 50
    spread = (((gate - mean) ** 2).sum(-1, keepdim=True) / 50) ** 0.5
    kept = torch.where(gate > mean + c * spread, gate - mean - c * spread, 0.0)
    torch.testing.assert_close(part(x, INFO), part.out(FORMULAS["gelu_tanh"](kept) * part.up(x)))


def test_a_sparse_glu_leaves_out_the_share_that_is_asked_for():
    part = build("ffn", "sparse_glu", d_model=64, d_ff=4096, sparsity=0.9).double()
    torch.nn.init.normal_(part.gate.weight, generator=torch.Generator().manual_seed(1))
    read = []
    part.out.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    part(torch.randn(20, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))
    assert (read[0] == 0).double().mean().item() == pytest.approx(0.9, abs=0.005)


def test_a_sparse_glu_has_a_gradient_where_all_channels_are_the_same():
    part, x = build("ffn", "sparse_glu", d_model=8), torch.zeros(1, 2, 8, requires_grad=True)
    part(x).sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in part.parameters())


@pytest.mark.parametrize(("sparsity", "said"), [(0.0, "sparsity=0 keeps all"), (1.0, "sparsity=1 keeps nothing")])
def test_a_sparse_glu_is_between_all_and_nothing(sparsity, said):
    with pytest.raises(UserError, match=said):
        build("ffn", "sparse_glu", d_model=8, sparsity=sparsity)


@pytest.mark.parametrize("gate", [True, False])
def test_channel_mix_is_rwkvs_step_by_step(gate):
    part, x = drawn("channel_mix", gate=gate), inputs(2, 6)
    before = torch.zeros(2, 8, dtype=torch.float64)
    for t in range(6):
        mixed = part.mix_key * x[:, t] + (1 - part.mix_key) * before
        want = part.out(part.key(mixed).clamp(min=0) ** 2)
        if gate:
            mixed = part.mix_receptance * x[:, t] + (1 - part.mix_receptance) * before
            want = torch.sigmoid(part.receptance(mixed)) * want
        torch.testing.assert_close(part(x, INFO)[:, t], want)
        before = x[:, t]


def test_channel_mix_looks_back_less_in_later_layers():
    first, last = (build("ffn", "channel_mix", d_model=8, place=Place(i, 4)).mix_key for i in (0, 3))
    assert torch.equal(first, torch.arange(8) / 8)
    torch.testing.assert_close(last, (torch.arange(8) / 8) ** 0.25)


def test_product_keys_find_the_best_of_all_pairs():
    part, x = drawn("product_key_memory", n_keys=7, k=3, n_heads=2, d_key=6), inputs(2, 5)
    want = torch.zeros_like(x)
    queries = part.query(x).view(2, 5, 2, 2, 3)
    for h in range(2):
        halves = [F.layer_norm(queries[:, :, h, i], (3,)) for i in (0, 1)]
        halves = [y * part.query_norm.weight + part.query_norm.bias for y in halves]
        a, b = (y @ part.keys.weight[2 * h + i] for i, y in enumerate(halves))
        scores = (a[..., :, None] + b[..., None, :]).flatten(-2)  # all 49 keys
        best = scores.topk(3, -1)
        want += (best.values.softmax(-1)[..., None] * part.values.weight[best.indices]).sum(-2)
    torch.testing.assert_close(part(x, INFO), want)


def test_product_keys_messages():
    with pytest.raises(UserError, match="k=9 exceeds the n_keys=8"):
        build("ffn", "product_key_memory", d_model=8, n_keys=8, k=9)
    with pytest.raises(UserError, match="d_key=5 cannot be halved"):
        build("ffn", "product_key_memory", d_model=8, d_key=5)


def test_none_adds_nothing():
    x = inputs(2, 3).requires_grad_()
    out = build("ffn", "none")(x, INFO)
    assert (out == 0).all()
    assert out.shape == x.shape
    model = build("model", "decoder", vocab_size=9, d_model=8, n_layers=1, attention={"name": "gqa", "n_heads": 2}, ffn="none")
    assert not [n for n, _ in model.named_parameters() if "ffn" in n]
