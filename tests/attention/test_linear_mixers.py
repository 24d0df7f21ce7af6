"""The linear-time mixers: each against its paper's formula position by position, its options, its cache over chunks, its FLOPs, what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from components import build
from components.core import registry
from components.core.errors import UserError
from components.core.flops import Work, flops_of
from components.core.options import fields_of
from components.core.positions import count_positions
from components.core.sockets import Batch, Place, SequenceInfo
from components.parts.attention._delta import Delta

D, T = 16, 7
MIXERS = ("linear", "retention", "gla", "hgrn2", "delta_net", "gated_delta_net", "kda", "mamba2")
ROTATING = ("linear", "retention", "delta_net", "gated_delta_net")


def mixer(name, std=0.4, **options):
    options = {"position": "none", **options} if name in ROTATING else options
    part = build("attention", name, d_model=D, context_length=T, place=Place(1, 3), **options).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in part.parameters():
            p.copy_(torch.empty(p.shape).normal_(0, std, generator=generator))
    return part


def x(rows=2, t=T, seed=1):
    return torch.randn(rows, t, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def info(t=T, **changes):
    return SequenceInfo(**{"positions": torch.arange(t)[None], **changes})


def heads(y, width):
    return y.unflatten(-1, (-1, width))  # (B, T, H, K)


def convolved(y, conv):
    """A depthwise convolution of torch's own over the whole sequence, as the papers' code calls it."""
    taps = conv.taps[:, None]
    return F.conv1d(y.mT, taps, conv.bias, padding=taps.shape[-1] - 1, groups=len(taps))[..., : y.shape[1]].mT


def rms(y, part):
    return y / (y.square().mean(-1, keepdim=True) + part.eps).sqrt() * part.weight


def run(q, k, v, decay=None, beta=None):
    """The recurrence for (B, T, H, K), (B, T, H, V), decays (B, T, H, K or 1), beta (B, T, H)."""
    state = torch.zeros(*k.shape[:1], *k.shape[2:], v.shape[-1], dtype=q.dtype)
    out = []
    for t in range(q.shape[1]):
        if decay is not None:
            state = state * decay[:, t, :, :, None]
        new = v[:, t]
        if beta is not None:
            new = beta[:, t, :, None] * (new - torch.einsum("bhk,bhkv->bhv", k[:, t], state))
        state = state + torch.einsum("bhk,bhv->bhkv", k[:, t], new)
        out.append(torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(out, 1)


MAPS = {
    "elu1": lambda y: F.elu(y) + 1,
    "relu": F.relu,
    "softmax": lambda y: y.softmax(-1),
}


@pytest.mark.parametrize("feature_map", MAPS)
def test_linear_divides_by_the_sum_of_weights(feature_map):
    part = mixer("linear", feature_map=feature_map, feature_dim=6)
    q, k, v = MAPS[feature_map](heads(part.q(x()), 6)), MAPS[feature_map](heads(part.k(x()), 6)), heads(part.v(x()), 4)
    weights = torch.einsum("bihk,bjhk->bhij", q, k).tril()
    read = torch.einsum("bhij,bjhv->bihv", weights / (weights.sum(-1, keepdim=True) + 1e-6), v)
    torch.testing.assert_close(part(x(), info()), part.out(read.flatten(2)))


def test_linear_without_a_map_or_a_sum_is_attention_without_softmax():
    part = mixer("linear", feature_map="identity", normalise=False)
    q, k, v = (heads(p(x()), 4) for p in (part.q, part.k, part.v))
    torch.testing.assert_close(part(x(), info()), part.out(run(q * 0.5, k, v).flatten(2)))


def test_taylor_features_multiply_to_the_second_taylor_polynomial_of_exp():
    part = mixer("linear", feature_map="taylor")
    q, k = x()[..., :4], x(seed=2)[..., :4]
    dot = (q * k).sum(-1) * part.width**-0.5
    torch.testing.assert_close((part.mapped(q) * part.mapped(k)).sum(-1), 1 + dot + dot**2 / 2)
    wanted = build("attention", "gqa", d_model=D, context_length=T, n_heads=4, position="none").double()
    wanted.load_state_dict(part.state_dict())
    small = 0.05 * x()
    torch.testing.assert_close(part(small, info()), wanted(small, info()), rtol=1e-5, atol=1e-7)


def test_taylor_features_with_rotation_come_near_to_rotated_softmax():
    part = mixer("linear", feature_map="taylor", position="rope")
    wanted = build("attention", "gqa", d_model=D, context_length=T, n_heads=4, position="rope").double()
    wanted.load_state_dict(part.state_dict())
    torch.testing.assert_close(part(0.05 * x(), info()), wanted(0.05 * x(), info()), rtol=1e-5, atol=1e-7)


def test_linear_rotates_features_and_not_their_sum():
    part = mixer("linear", position="rope")
    q, k = (MAPS["elu1"](heads(p(x()), 4)).transpose(1, 2) for p in (part.q, part.k))
    v = heads(part.v(x()), 4).transpose(1, 2)
    turned_q, turned_k = part.position.rotate(q, k, info(), info())
    read = (turned_q @ turned_k.mT).tril() @ v / ((q @ k.mT).tril().sum(-1, keepdim=True) + 1e-6)
    torch.testing.assert_close(part(x(), info()), part.out(read.transpose(1, 2).flatten(2)))


def test_dpfp_features():
    """Schlag et al., eq. 37 with nu = 1."""
    y = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    found = mixer("linear", feature_map="dpfp").mapped(y)
    r = torch.tensor([1.0, 0, 3, 0.5, 0, 2, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(found, r * r[[7, 0, 1, 2, 3, 4, 5, 6]])


def test_retention():
    part = mixer("retention")
    q, k, v = heads(part.q(x()), 4), heads(part.k(x()), 4), heads(part.v(x()), 8)
    gamma = torch.tensor([1 - 2.0 ** (-5 - h) for h in range(4)], dtype=torch.float64)
    distance = torch.arange(T)[:, None] - torch.arange(T)
    decay = (gamma[:, None, None] ** distance.clamp(min=0)).tril()
    read = torch.einsum("bhij,bjhv->bihv", torch.einsum("bihk,bjhk->bhij", q, k) / 2 * decay, v)
    norm = part.output_norm
    assert norm.weight.shape == (4, 8)  # a scale for each head, as a group norm has
    read = F.layer_norm(read, (8,), eps=norm.eps) * norm.weight + norm.bias
    torch.testing.assert_close(part(x(), info()), part.out(read.flatten(2) * F.silu(part.z(x()))))


@pytest.mark.parametrize("conv_size", [None, 3])
def test_gla(conv_size):
    part = mixer("gla", conv_size=conv_size)
    q, k, v = part.q(x()), part.k(x()), part.v(x())
    if conv_size:
        q, k, v = (F.silu(convolved(y, c)) for y, c in ((q, part.q_conv), (k, part.k_conv), (v, part.v_conv)))
    decay = torch.sigmoid(part.decay_up(part.decay_down(x()))) ** (1 / 16)
    read = run(heads(q, 2) / 2**0.5, heads(k, 2), heads(v, 4), heads(decay, 2))
    gate = F.silu(part.z(x()))
    torch.testing.assert_close(part(x(), info()), part.out(rms(read, part.output_norm).flatten(2) * gate))


@pytest.mark.parametrize("feature_map", MAPS)
def test_retention_and_gla_without_a_gate_and_with_features_of_each_head(feature_map):
    part = mixer("gla", feature_map=feature_map, output_gate="none")
    q, k = (MAPS[feature_map](heads(p(x()), 2)) for p in (part.q, part.k))
    decay = torch.sigmoid(part.decay_up(part.decay_down(x()))) ** (1 / 16)
    read = run(q / 2**0.5, k, heads(part.v(x()), 4), heads(decay, 2))
    torch.testing.assert_close(part(x(), info()), part.out(rms(read, part.output_norm).flatten(2)))

    part = mixer("retention", feature_map=feature_map, output_gate="none", output_norm="none", position="rope")
    q, k = (MAPS[feature_map](heads(p(x()), 4)).transpose(1, 2) for p in (part.q, part.k))
    q, k = (y.transpose(1, 2) for y in part.position.rotate(q, k, info(), info()))  # the features are rotated
    gamma = torch.tensor([1 - 2.0 ** (-5 - h) for h in range(4)], dtype=torch.float64)
    read = run(q / 2, k, heads(part.v(x()), 8), gamma[:, None].expand(2, T, 4, 1))
    torch.testing.assert_close(part(x(), info()), part.out(read.flatten(2)))
    assert not hasattr(part, "z")


def test_hgrn2_keeps_at_least_its_bound_and_writes_the_rest():
    part = mixer("hgrn2", expand_ratio=3)
    bound = part.bound.sigmoid()
    forget = bound + (1 - bound) * part.f(x()).sigmoid()
    read = run(heads(F.silu(part.q(x())), 3), heads(1 - forget, 3), heads(part.v(x()), 4), heads(forget, 3))
    torch.testing.assert_close(part(x(), info()), part.out(rms(read.flatten(2), part.output_norm)))


def test_bounds_of_hgrn2_grow_with_depth_from_none():
    parts = [build("attention", "hgrn2", d_model=D, place=Place(i, 4)) for i in range(4)]
    assert parts[0].bound is None
    for i in (1, 2, 3):
        torch.testing.assert_close(parts[i].bound.sigmoid(), torch.full((D,), i / 4))
    assert build("attention", "hgrn2", d_model=D, place=Place(1, 4), lower_bound=False).bound is None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"conv_size": None, "qk_activation": "elu", "qk_norm": "sum"},
        {"conv_bias": True, "qk_activation": "identity", "allow_neg_eigval": True, "output_gate": "sigmoid"},
        {"qk_activation": "relu", "qk_norm": "l2", "use_beta": False, "expand_k": 0.5, "expand_v": 2.0},
    ],
    ids=lambda o: "-".join(o) or "plain",
)
def test_delta_net(options):
    part = mixer("delta_net", **options)
    q, k, v = part.q(x()), part.k(x()), part.v(x())
    if options.get("conv_size", 4):
        q, k, v = convolved(q, part.q_conv), convolved(k, part.k_conv), convolved(v, part.v_conv)
    activation = {"silu": F.silu, "elu": lambda y: F.elu(y) + 1, "identity": lambda y: y, "relu": F.relu}[
        options.get("qk_activation", "silu")
    ]
    q, k, v = (
        heads(y, w) for y, w in ((activation(q), part.k_width), (activation(k), part.k_width), (F.silu(v), part.v_width))
    )
    if options.get("qk_norm") == "sum":
        q, k = (y / (y.sum(-1, keepdim=True) + 1e-6) for y in (q, k))
    else:
        q, k = (y / (y.square().sum(-1, keepdim=True) + 1e-6).sqrt() for y in (q, k))
    beta = part.b(x()).sigmoid() if part.b is not None else torch.ones(2, T, 4, dtype=torch.float64)
    read = run(q * part.k_width**-0.5, k, v, beta=beta * (2 if options.get("allow_neg_eigval") else 1))
    read = rms(read, part.output_norm).flatten(2)
    gate = part.z(x()).sigmoid() if "output_gate" in options else 1
    torch.testing.assert_close(part(x(), info()), part.out(read * gate))


def test_gated_delta_net_as_qwen3_next_has_it():
    """Two heads of keys for four of values, widths of their own: the same figures as transformers' Qwen3NextGatedDeltaNet."""
    part = mixer("gated_delta_net", n_heads=2, n_v_heads=4, head_dim=6, head_v_dim=5)
    q, k, v = (F.silu(convolved(p(x()), c)) for p, c in ((part.q, part.q_conv), (part.k, part.k_conv), (part.v, part.v_conv)))
    q, k = (heads(y, 6).repeat_interleave(2, 2) for y in (q, k))
    q, k = (y * (y.square().sum(-1, keepdim=True) + 1e-6).rsqrt() for y in (q, k))
    g = -part.A_log.exp() * F.softplus(part.a(x()) + part.dt_bias)
    read = run(q * 6**-0.5, k, heads(v, 5), g.exp()[..., None], part.b(x()).sigmoid())
    read = rms(read, part.output_norm) * F.silu(heads(part.z(x()), 5))
    torch.testing.assert_close(part(x(), info()), part.out(read.flatten(2)))


def test_gated_delta_net_that_forgets_nothing_is_delta_net():
    part = mixer("gated_delta_net", head_v_dim=4, output_gate="none", allow_neg_eigval=True)
    with torch.no_grad():
        part.A_log.fill_(-50.0)
    plain = mixer("delta_net", allow_neg_eigval=True)
    plain.load_state_dict({n: p for n, p in part.state_dict().items() if n.partition(".")[0] not in ("a", "A_log", "dt_bias")})
    torch.testing.assert_close(part(x(), info()), plain(x(), info()))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_heads": 2, "head_dim": 6, "head_v_dim": 5, "gate_low_rank_dim": 3, "allow_neg_eigval": True},
        {"conv_size": None, "output_gate": "silu"},
        {"conv_bias": True, "output_gate": "none"},
    ],
    ids=lambda o: "-".join(o) or "plain",
)
def test_kda(options):
    part = mixer("kda", **options)
    q, k, v = part.q(x()), part.k(x()), part.v(x())
    if options.get("conv_size", 4):
        q, k, v = convolved(q, part.q_conv), convolved(k, part.k_conv), convolved(v, part.v_conv)
    keys, values = options.get("head_dim", 4), options.get("head_v_dim", 4)
    q, k, v = heads(F.silu(q), keys), heads(F.silu(k), keys), heads(F.silu(v), values)
    q, k = (y / (y.square().sum(-1, keepdim=True) + 1e-6).sqrt() for y in (q, k))
    rates = F.softplus(part.decay_up(part.decay_down(x())) + part.dt_bias)
    decay = (-part.A_log.exp()[:, None] * heads(rates, keys)).exp()  # one for every channel of a key
    beta = part.b(x()).sigmoid() * (2 if options.get("allow_neg_eigval") else 1)
    read = rms(run(q * keys**-0.5, k, v, decay, beta), part.output_norm).flatten(2)
    activation = {"sigmoid": torch.sigmoid, "silu": F.silu, "none": None}[options.get("output_gate", "sigmoid")]
    gate = 1 if activation is None else activation(part.z_up(part.z_down(x())))
    torch.testing.assert_close(part(x(), info()), part.out(read * gate))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_groups": 2, "output_norm_over": "full", "bias": True},
        {"n_groups": 2, "conv_bias": False, "dt_limit": [0.3, 0.9], "norm_before_gate": True},
        {"multipliers": [0.5, 0.7, 1.3, 2.0, 0.9], "bias": True},
    ],
    ids=lambda o: "-".join(o) or "plain",
)
def test_mamba2(options):
    part = mixer("mamba2", state_size=6, **options)
    groups, factors = options.get("n_groups", 1), options.get("multipliers", [1.0] * 5)
    z, u, b, c, dt = (
        factor * getattr(part, name)(x()) for factor, name in zip(factors, ("z", "x", "B", "C", "dt"), strict=True)
    )
    u, b, c = (F.silu(convolved(y, conv)) for y, conv in ((u, part.x_conv), (b, part.B_conv), (c, part.C_conv)))
    u, (b, c) = heads(u, 8), (heads(y, 6).repeat_interleave(4 // groups, 2) for y in (b, c))
    dt = F.softplus(dt + part.dt_bias).clamp(*options.get("dt_limit", (0, math.inf)))
    y = run(c, b, u * dt[..., None], (-part.A_log.exp() * dt).exp()[..., None]) + part.D[:, None] * u
    y, gate = y.flatten(2), F.silu(z)

    def norm(y):
        if groups == 1 or "output_norm_over" in options:
            return rms(y, part.output_norm)
        return rms(heads(y, 16), part.output_norm).flatten(2)

    y = norm(y) * gate if "norm_before_gate" in options else norm(y * gate)
    torch.testing.assert_close(part(x(), info()), part.out(y))


def test_first_values_of_decays_are_the_papers_ranges():
    part = build("attention", "mamba2", d_model=D, n_heads=8)
    torch.testing.assert_close(part.A_log.exp(), torch.arange(1.0, 9.0))
    dt = F.softplus(part.dt_bias)
    torch.testing.assert_close(dt[[0, -1]], torch.tensor([0.001, 0.1]), rtol=1e-4, atol=0)
    torch.testing.assert_close(dt[1:] / dt[:-1], torch.full((7,), 100 ** (1 / 7)), rtol=1e-3, atol=0)
    assert (part.D == 1).all()
    part = build("attention", "gated_delta_net", d_model=D, n_heads=8, position="none")
    torch.testing.assert_close(part.A_log.exp(), torch.arange(1.0, 17.0, 2.0))
    torch.testing.assert_close(F.softplus(part.dt_bias), dt)
    part = build("attention", "kda", d_model=D, n_heads=2)
    torch.testing.assert_close(part.A_log.exp(), torch.tensor([4.75, 12.25]))
    torch.testing.assert_close(F.softplus(part.dt_bias), dt.repeat(2))  # 8 channels in each head
    assert torch.isfinite(build("attention", "gated_delta_net", d_model=D, n_heads=1, position="none").dt_bias).all()


def test_first_values_of_convolutions_spread_evenly():
    taps = build("attention", "delta_net", d_model=256, position="none").q_conv.taps
    assert taps.shape == (256, 4)
    for column in taps.T:  # 32 in each eighth of +- 1/2, if it were exact
        counts = torch.histc(column, 8, -0.5, 0.5)
        assert counts.sum() == 256
        assert (counts - 32).abs().max() <= 10
    assert (torch.corrcoef(taps.T) - torch.eye(4)).abs().max() < 0.2


@pytest.mark.parametrize("name", MIXERS)
def test_a_long_sequence_in_calls_of_any_length_equals_the_whole(name):
    """Over the borders of chunks, with documents and padding, and beam search's reordering in between."""
    part = mixer(name, 0.3)
    length = 150
    documents = torch.zeros(2, length, dtype=torch.long)
    documents[0, 40:], documents[0, 90:], documents[1, 64:] = 1, 2, 1
    valid = torch.ones(2, length, dtype=torch.bool)
    valid[0, :9], valid[1, 60:70], valid[1, 149:] = False, False, False
    y = x(2, length)
    positions = count_positions(documents, documents, valid)
    whole = part(y, info(length, documents=documents, valid=valid, positions=positions))
    alone = part(y[:1, 90:], info(60, positions=positions[:1, 90:]))
    torch.testing.assert_close(whole[:1, 90:], alone)
    cache = build("cache", "growing")
    found = []
    for i, j in ((0, 5), (5, 66), (66, 67), (67, 68), (68, 140), (140, 141), (141, 150)):
        now = info(documents=documents[:, i:j], valid=valid[:, i:j], positions=positions[:, i:j], cache=cache)
        cache.open(now)
        found.append(part(y[:, i:j], now))
        if i == 68:
            cache.reorder(torch.tensor([1, 0]))
            cache.reorder(torch.tensor([1, 0]))
    torch.testing.assert_close(torch.cat(found, 1)[valid], whole[valid])


@pytest.mark.parametrize("name", MIXERS)
def test_an_encoder_reads_from_left_to_right_as_well(name):
    part = mixer(name)
    assert torch.equal(part(x(), info(causal=False)), part(x(), info()))


@pytest.mark.parametrize("length", [1, 12, 64, 150])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in MIXERS),
        ("linear", {"feature_map": "taylor", "feature_dim": 3}),
        ("linear", {"position": "rope"}),
        ("linear", {"feature_map": "dpfp", "normalise": False}),
        ("gla", {"conv_size": 4, "output_gate": "none"}),
        ("retention", {"feature_map": "elu1", "output_gate": "none"}),
        ("gated_delta_net", {"n_heads": 2, "n_v_heads": 4}),
        ("kda", {"gate_low_rank_dim": 3, "head_v_dim": 6}),
        ("mamba2", {"n_groups": 2}),
    ],
    ids=lambda v: v if isinstance(v, str) else "-".join(v) if isinstance(v, dict) else None,
)
def test_flops(name, options, length):
    part = mixer(name, **options).float()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        part(x(1, length).float(), info(length))
    executed, algorithm = flops_of(part, Work(length))
    assert executed == counter.get_total_flops()
    assert algorithm <= executed
    assert algorithm == length * flops_of(part, Work(1)).algorithm


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("linear", {"n_heads": 3}, "n_heads=3 does not divide"),
        ("linear", {"feature_map": "identity"}, "choose normalise=false"),
        ("linear", {"feature_map": "relu", "position": "rope"}, "feature_map=relu gives sums"),
        ("retention", {"expand_v": 0.7}, "expand_v=0.7 times d_model=16 is 11.2"),
        ("gla", {"n_heads": 16}, "expand_k=0.5 times d_model=16 is 8"),
        ("hgrn2", {"n_heads": 5}, "n_heads=5 does not divide"),
        ("delta_net", {"qk_norm": "sum"}, "qk_norm=sum divides by a sum that may be 0 after qk_activation=silu"),
        ("gated_delta_net", {"n_v_heads": 6}, "n_v_heads=6 is no multiple of n_heads=4"),
        ("kda", {"n_heads": 3}, "head_dim=1.0 times d_model=16 is 16, which n_heads=3 does not divide"),
        ("mamba2", {"n_groups": 3}, "n_groups=3 does not divide n_heads=4"),
    ],
)
def test_options_that_do_not_fit_are_refused(name, options, message):
    with pytest.raises(UserError, match=message):
        mixer(name, **options)


@pytest.mark.parametrize(
    ("name", "loss"), [("delta_net", 0.2), ("gated_delta_net", 0.3), ("kda", 0.3), ("mamba2", 0.2), ("linear", 1.9)]
)
def test_a_small_decoder_learns_to_say_what_stood_two_before(name, loss):
    """From log 8 = 2.08; thirty steps."""
    position = "rope" if name in ROTATING else "none"
    model = build(
        "model", "decoder", vocab_size=8, d_model=32, n_layers=2, context_length=16, attention=name, position=position
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(30):
        ids = torch.randint(0, 8, (16, 18), generator=generator)
        found = F.cross_entropy(model(Batch(ids))[:, 2:].flatten(0, 1), ids[:, :-2].flatten())
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        losses.append(found.item())
    assert losses[0] > 1.9
    assert losses[-1] < loss


def test_what_all_delta_rules_are_told_stands_once():
    gates = {"delta_net": "none", "gated_delta_net": "silu", "kda": "sigmoid"}
    for name, gate in gates.items():
        options = registry.entry("attention", name).signature.options
        assert issubclass(registry.find("attention", name), Delta), name
        assert [*options][: len(fields_of(Delta))] == [*fields_of(Delta)], "what they share stands together, first"
        assert options["output_gate"].default == gate
        assert options["allow_neg_eigval"].doc == registry.entry("attention", "kda").signature.options["allow_neg_eigval"].doc
    assert build("attention", "kda", d_model=16, allow_neg_eigval=True).most == 2 * build("attention", "kda", d_model=16).most
