"""Adapters over any linear map: formulas, first values, names that stay, and merging that changes nothing."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import components
from components import build
from components.core.errors import UserError
from components.core.flops import Work, flops_of
from components.core.sockets import name_parts
from components.core.weights import Experts, initialise, roles, weight_of
from components.functional.decode_products import plain
from components.parts.adapter._adapted import Adapted
from components.runs.weights import materialise

SIZES = {"vocab_size": 30, "d_model": 16, "n_layers": 2, "context_length": 12}
ADAPTERS = {
    "lora": {"rank": 4, "targets": ["*.attention.*", "*.ffn.*", "head.*"]},
    "lora_everywhere": {"rank": 2, "targets": ["*"], "scaling": "root"},
    "dora": {"rank": 4, "targets": ["*.attention.q", "*.ffn.*"]},
    "ia3": {},
}
every_adapter = pytest.mark.parametrize("name", ADAPTERS)


def decoder(**options):
    attention = {"name": "gqa", "n_heads": 4, "n_kv_heads": 2, "bias": ["q", "k", "v"]}
    return build("model", "decoder", **{**SIZES, "attention": attention, "ffn": {"name": "glu"}, **options}).eval()


def put(name, model, **options):
    return build("adapter", name.split("_")[0], **{**ADAPTERS[name], **options}).apply(model)


def shaken(model, seed=0):
    """What an adapter added, as it may be after training."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in components.adapter_state_dict(model).values():
            value.add_(0.1 * torch.randn(value.shape, generator=g, dtype=value.dtype))
    return model


def ids(rows=2):
    return torch.randint(0, 30, (rows, 12), generator=torch.Generator().manual_seed(1))


def linear(name, **options):
    """One linear map (with a bias that is not 0) under an adapter, shaken."""

    class One(nn.Module):
        axes = {"map": ("d_model", "d_ff")}

        def __init__(self):
            super().__init__()
            self.map = nn.Linear(6, 10)

    model = build("adapter", name, **options).apply(One().double())
    return shaken(model).map


@every_adapter
def test_the_first_output_is_the_bases_and_only_the_adapter_is_trained(name):
    base = decoder()
    model = put(name, copy.deepcopy(base))
    torch.testing.assert_close(model(ids()), base(ids()), rtol=0, atol=1e-6)
    before = {n: p for n, p in base.named_parameters()}
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {n for n, _ in model.named_parameters()} - set(before)
    assert set(components.adapter_state_dict(model)) == trained
    F.cross_entropy(shaken(model)(ids()).flatten(0, 1), ids().flatten()).backward()
    for n, p in model.named_parameters():
        assert (p.grad is not None and p.grad.any()) == (n in trained), n


@every_adapter
def test_names_and_values_of_the_base_stay_and_its_checkpoint_loads(name):
    base, other = decoder(), decoder()
    initialise(other, other.init, 7)
    model = put(name, copy.deepcopy(base))
    assert set(base.state_dict()) < set(model.state_dict())
    result = model.load_state_dict(other.state_dict(), strict=False)
    assert not result.unexpected_keys
    assert set(result.missing_keys) == set(components.adapter_state_dict(model))


@every_adapter
@pytest.mark.parametrize("head", ["linear", "tied"])
def test_merging_changes_nothing_and_leaves_a_plain_model(name, head):
    base = decoder(head=head)
    options = {"targets": [t for t in ADAPTERS[name]["targets"] if t != "head.*"]} if name == "lora" else {}
    model = shaken(put(name, copy.deepcopy(base), **options))
    logits = model(ids())
    assert (logits - base(ids())).abs().max() > 1e-3
    merged = components.merge(copy.deepcopy(model))
    # a table's lora_b is drawn from N(0, 1): logits of a tied head reach 20 then
    assert (merged(ids()) - logits).abs().max() < 1e-6 * max(1.0, float(logits.detach().abs().max()))
    assert list(merged.state_dict()) == list(base.state_dict())
    assert [type(m) for m in merged.modules()] == [type(m) for m in base.modules()]
    assert all(p.requires_grad for p in merged.parameters())
    assert type(merged.init) is type(base.init)
    assert [vars(m).keys() for m in merged.modules()] == [vars(m).keys() for m in base.modules()]
    double = components.merge(copy.deepcopy(model).double())(ids())
    torch.testing.assert_close(double, copy.deepcopy(model).double()(ids()), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="no adapter"):
        components.merge(merged)


@every_adapter
def test_from_meta_as_directly_and_whatever_else_is_there(name):
    direct = put(name, decoder())
    with torch.device("meta"):
        late = put(name, decoder())
    name_parts(late)
    materialise(late, "cpu", 0)
    for (n, a), b in zip(direct.state_dict().items(), late.state_dict().values(), strict=True):
        assert torch.equal(a, b), n
    initialise(direct, direct.init, 5)
    materialise(late, "cpu", 5)
    for (n, a), b in zip(direct.state_dict().items(), late.state_dict().values(), strict=True):
        assert torch.equal(a, b), n
    assert torch.equal(decoder().state_dict()["head.logits.weight"], put(name, decoder()).state_dict()["head.logits.weight"])


@every_adapter
def test_every_new_parameter_has_axes_and_a_role(name):
    model = put(name, decoder())
    found = {w.name: w for w in roles(model) if w.parameter.requires_grad}
    expected = {"lora_a": ("d_model", "latent"), "lora_b": ("latent", "heads"), "magnitude": ("heads",)}
    for w in found.values():
        leaf = w.name.rpartition(".")[2]
        if ".attention.q." in w.name:
            assert w.axes == expected[leaf]
            assert w.role == ("special" if leaf == "magnitude" else "hidden")
        if leaf == "ia3":
            assert w.role == "special"
    if name == "lora":
        assert found["head.logits.lora_b"].role == "head"
    optimizer = build("optimizer", "adamw", weights=list(roles(model)))
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    assert held == {id(w.parameter) for w in found.values()}


@pytest.mark.parametrize("scaling", ["rank", "root"])
def test_lora_is_its_formula(scaling):
    m = linear("lora", rank=4, alpha=6.0, scaling=scaling, targets=["map"])
    x = torch.randn(3, 5, 6, dtype=torch.float64)
    factor = 6.0 / (4 if scaling == "rank" else 2)
    expected = x @ m.weight.T + m.bias + factor * (x @ m.lora_a.T @ m.lora_b.T)
    torch.testing.assert_close(m(x), expected)
    torch.testing.assert_close(m(x), F.linear(x, weight_of(m), m.bias))


def test_lora_a_is_drawn_within_the_bound_of_torchs_linear_and_b_is_zero():
    model = put("lora", decoder())
    a = model.stack.layers[0].block.attention.q.lora_a
    assert a.shape == (4, 16)
    assert not model.stack.layers[0].block.attention.q.lora_b.any()
    assert 0.8 / math.sqrt(16) < a.abs().max() <= 1 / math.sqrt(16)
    assert not torch.equal(a, model.stack.layers[1].block.attention.q.lora_a)


def test_dora_is_its_formula_with_a_norm_that_is_a_constant_to_the_gradient():
    m = linear("dora", rank=4, alpha=8.0, targets=["map"])
    x = torch.randn(3, 6, dtype=torch.float64)
    direction = m.weight + 2.0 * m.lora_b @ m.lora_a
    norm = torch.stack([row.pow(2).sum().sqrt() for row in direction])
    expected = x @ (m.magnitude[:, None] * direction / norm[:, None]).T + m.bias
    torch.testing.assert_close(m(x), expected)
    torch.testing.assert_close(m(x), F.linear(x, weight_of(m), m.bias))
    (grad,) = torch.autograd.grad(m(x).sum(), m.lora_b)
    held = x @ (m.magnitude[:, None] * direction / norm.detach()[:, None]).T
    torch.testing.assert_close(grad, torch.autograd.grad(held.sum(), m.lora_b)[0])


def test_dora_leaves_a_row_of_zeros_as_it_is():
    m = linear("dora", rank=4, targets=["map"])
    with torch.no_grad():
        m.weight[3], m.lora_b[3] = 0.0, 0.0
    y = m(torch.randn(3, 6, dtype=torch.float64))
    torch.testing.assert_close(y[:, 3], m.bias[3].expand(3))
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in (m.magnitude, m.lora_a, m.lora_b))
    assert not weight_of(m)[3].any()


def test_dora_follows_a_base_that_is_loaded_later():
    base = decoder()
    initialise(base, base.init, 3)
    model = put("dora", decoder())
    model.load_state_dict(base.state_dict(), strict=False)
    assert (model(ids()) - base(ids())).abs().max() > 1e-3
    for module in model.modules():
        if isinstance(module, Adapted):
            module.follow_base()
    torch.testing.assert_close(model(ids()), base(ids()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", ["outputs", "inputs"])
def test_ia3_is_its_formula(side):
    m = linear("ia3", **{"outputs": [], "inputs": [], side: ["map"]})
    x = torch.randn(3, 6, dtype=torch.float64)
    plain = F.linear(x, m.weight, m.bias) * m.ia3 if side == "outputs" else F.linear(x * m.ia3, m.weight, m.bias)
    torch.testing.assert_close(m(x), plain)
    torch.testing.assert_close(F.linear(x, m.effective_weight(), m.effective_bias()), plain)


def test_lora_on_experts_and_on_a_table_with_a_tied_head():
    class Both(nn.Module):
        axes = {"table": ("vocab", "d_model"), "experts": ("experts", "d_model", "d_ff")}

        def __init__(self):
            super().__init__()
            self.table, self.experts = nn.Embedding(9, 6), Experts(3, 6, 8)
            nn.init.normal_(self.experts.weight)

    model = shaken(build("adapter", "lora", rank=2, targets=["table", "experts"]).apply(Both().double()))
    words, x = torch.tensor([[1, 5, 8]]), torch.randn(3, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(model.table(words), weight_of(model.table)[words])
    torch.testing.assert_close(model.experts(x), torch.bmm(x, weight_of(model.experts)))
    tied = shaken(build("adapter", "lora", rank=2, targets=["embedding.table"]).apply(decoder(head="tied")))
    hidden = torch.randn(1, 3, 16)
    torch.testing.assert_close(tied.head(hidden), hidden @ weight_of(tied.embedding.table).T)
    assert not torch.equal(weight_of(tied.embedding.table), tied.embedding.table.weight)


def test_an_adapted_map_is_no_plain_one_to_fused_products():
    attention = put("lora", decoder(), targets=["*.attention.q"]).stack.layers[0].block.attention
    assert not plain(attention.q)
    assert plain(attention.k)


def test_dropout_is_of_training_alone():
    model = shaken(put("lora", decoder(), dropout=0.5))
    assert torch.equal(model(ids()), model(ids()))
    model.train()
    assert not torch.equal(model(ids()), model(ids()))


@every_adapter
def test_cached_decoding_and_bf16(name):
    model = shaken(put(name, decoder()))
    cache = build("cache", "growing")
    steps = torch.cat([model(ids()[:, i : i + 1], cache=cache) for i in range(12)], 1)
    torch.testing.assert_close(steps, model(ids()), rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(model(ids())).all()
    assert model.bfloat16()(ids()).dtype == torch.bfloat16


@every_adapter
def test_one_graph(name):
    model = shaken(put(name, decoder()))
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(ids()), model(ids()))


@pytest.mark.parametrize(("name", "options"), [("lora", {"rank": 3}), ("dora", {"rank": 3}), ("ia3", {})])
def test_flops(name, options):
    options |= {"outputs": ["map"], "inputs": []} if name == "ia3" else {"targets": ["map"]}
    m = linear(name, **options).float()
    with FlopCounterMode(display=False) as counter:
        m(torch.randn(7, 6))
    assert flops_of(m, Work(7)).executed == counter.get_total_flops()


@pytest.mark.parametrize("pattern", ["*.ffn_norm", "*.ffn_norm.*", "stack.layers.1*"])
def test_what_train_names_is_trained_and_saved(pattern):
    model = put("lora", decoder(), train=[pattern])
    wanted = "ffn_norm" if "norm" in pattern else "stack.layers.1."
    beside = {n for n, p in model.named_parameters() if p.requires_grad and "lora" not in n}
    assert beside == {n for n, _ in decoder().named_parameters() if wanted in n}
    assert beside < set(components.adapter_state_dict(model))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"targets": ["*.atention.q"]}, r"adapter\.targets: '\*\.atention\.q' matches no .*did you mean '\*\.attention\.q'"),
        ({"targets": ["*_norm"]}, r"matches no Linear, Embedding, Experts"),
        ({"train": ["*.nrom"]}, r"adapter\.train: '\*\.nrom' matches nothing"),
        ({"rank": 17}, r"adapter\.rank: 17 is more than a weight of 16 x 16 has"),
    ],
)
def test_what_matches_nothing_says_what_is_near(options, text):
    with pytest.raises(UserError, match=text):
        put("lora", decoder(), **options)


def test_two_adapters_and_one_map_twice_are_refused():
    with pytest.raises(UserError, match="has one already"):
        put("ia3", put("lora", decoder()))
    with pytest.raises(UserError, match="name it once"):
        put("ia3", decoder(), outputs=["*.ffn.out"])
    with pytest.raises(ValueError, match="no adapter"):
        components.adapter_state_dict(decoder())
    assert build("adapter", "none").apply(model := decoder()) is model
