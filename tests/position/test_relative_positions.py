"""Positions by distance, by content and on a grid, each against its paper's formula written out pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from components import build
from components.core.errors import UserError
from components.core.flops import Work, flops_of
from components.core.sockets import Batch, SequenceInfo

T, H, G, K, D = 7, 4, 2, 8, 32
SIZES = {"d_model": D, "context_length": 64, "n_heads": H, "head_dim": K}
BIASES = ["t5_bias", "kerple", "fire", "dynamic_bias", "shaw", "transformer_xl", "cope"]


def position(name, seed=0, std=0.5, **options):
    part = build(
        "attention", "gqa", d_model=D, context_length=64, n_heads=H, head_dim=K, position={"name": name, **options}
    ).position
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in part.parameters():
            p.copy_(torch.empty(p.shape).normal_(0, std, generator=generator))
    return part.double()


def info(positions=None, **changes):
    return SequenceInfo(positions=torch.arange(T)[None] if positions is None else torch.tensor(positions), **changes)


def qk(rows=2, t=T):
    g = torch.Generator().manual_seed(1)
    return (torch.randn(rows, n, t, K, generator=g, dtype=torch.float64) for n in (H, G))


def bias(part, at, q_at=None):
    q, k = qk(t=at.positions.shape[1])
    if q_at is None:
        return part.bias(q, k, at, at)
    return part.bias(q[:, :, -q_at.positions.shape[1] :], k, q_at, at)


def pairs(one):
    """(B, H, T, T) of one(row, head, i, j), zero where j > i."""
    q, _ = qk()
    out = torch.zeros(q.shape[0], H, T, T, dtype=torch.float64)
    for row in range(out.shape[0]):
        for head in range(H):
            for i in range(T):
                for j in range(i + 1):
                    out[row, head, i, j] = one(row, head, i, j)
    return out


# Buckets that T5Attention._relative_position_bucket of transformers 5.23.0 gave on 2026-11-22 for keys at -distance from the query.
DISTANCES = [
    -300,
    -128,
    -127,
    -64,
    -40,
    -16,
    -9,
    -8,
    -7,
    -1,
    0,
    1,
    5,
    7,
    8,
    9,
    12,
    16,
    17,
    23,
    31,
    32,
    45,
    64,
    90,
    127,
    128,
    300,
]
BUCKETS = [
    (32, 128, True, [0] * 11 + [1, 5, 7, 8, 9, 12, 16, 16, 18, 21, 21, 23, 26, 29, 31, 31, 31]),
    (8, 20, True, [0] * 11 + [1, 4, 5, 5, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]),
    (32, 128, False, [31, 31, 31, 30, 28, 26, 24, 24, 23, 17, 0, 1, 5, 7, 8, 8, 9, 10, 10, 11, 11, 12, 12, 14, 14, 15, 15, 15]),
    (8, 20, False, [7] * 9 + [5, 0, 1, 2] + [3] * 15),
]


@pytest.mark.parametrize(("buckets", "longest", "causal", "wanted"), BUCKETS)
def test_t5_buckets_are_those_of_transformers(buckets, longest, causal, wanted):
    part = build("position", "t5_bias", n_heads=H, buckets=buckets, max_distance=longest)
    assert part.bucket(torch.tensor(DISTANCES), causal).tolist() == wanted


def test_t5_bias_is_the_row_of_the_bucket_and_one_table_serves_the_stack():
    part = position("t5_bias", buckets=8, max_distance=20)
    rows = part.bucket(torch.arange(T), True)
    torch.testing.assert_close(bias(part, info())[0, 1].diagonal(-3), part.table.weight[rows[3], 1].expand(T - 3))
    assert len(t5_tables()) == 1


def test_t5_bias_of_a_layer_is_read_by_that_layer_alone():
    assert t5_tables(share="layer") == [f"stack.positions.{i}.table.weight" for i in range(3)]


def t5_tables(**options):
    """Names of the tables that learn from a decoder of three layers, two kinds in turn; each has numbers of its own."""
    model = build(
        "model", "decoder", vocab_size=9, d_model=D, n_layers=3, context_length=8, pattern=["a", "b"],
        position={"name": "t5_bias", **options}, attention={"name": "gqa", "n_heads": H},
    )  # fmt: skip
    model(Batch(torch.arange(8)[None])).square().sum().backward()
    tables = {n: p for n, p in model.named_parameters() if "position" in n}
    assert len({p.grad.norm().item() for p in tables.values()}) == len(tables)
    return [n for n, p in tables.items() if p.grad.abs().sum() > 0]


def test_t5_bias_tells_past_from_future_in_an_encoder_alone():
    part = position("t5_bias")
    both = bias(part, info(causal=False))[0, 0]
    assert both[3, 1] != both[1, 3]
    prefix = bias(part, info(prefix=torch.tensor([5])))[0, 0]
    assert prefix[1, 3] == prefix[3, 3]
    assert torch.equal(
        prefix.tril(), bias(part, info())[0, 0].tril()
    )  # a later cached call may not know of the prefix any more


@pytest.mark.parametrize("kernel", ["log", "power"])
def test_kerple(kernel):
    part = position("kerple", kernel=kernel)
    a, b = F.softplus(part.slope), F.softplus(part.shape) if kernel == "log" else 2 * torch.sigmoid(part.shape)
    wanted = pairs(
        lambda _, h, i, j: -a[h] * (torch.log(1 + b[h] * (i - j)) if kernel == "log" else (i - j) ** b[h] if i > j else 0.0)
    )
    torch.testing.assert_close(bias(part, info()).tril().expand(2, -1, -1, -1), wanted)
    part.reset_parameters()
    start = F.softplus(part.slope).tolist()
    assert start == pytest.approx([(0.25 if kernel == "log" else 0.125) * n for n in (1, 3, 5, 7)])
    assert (F.softplus(part.shape) if kernel == "log" else 2 * torch.sigmoid(part.shape)).tolist() == pytest.approx(
        [0.5 if kernel == "log" else 1.0] * H
    )


def test_kerple_power_has_gradients_at_distance_zero():
    part = position("kerple", kernel="power")
    bias(part, info()).sum().backward()
    assert torch.isfinite(part.shape.grad).all()


def test_fire():
    part = position("fire", width=5, threshold=4.0)
    c, threshold = part.c.abs(), part.threshold.abs() * 4.0

    def one(_, h, i, j):
        place = torch.log(c * (i - j) + 1) / (torch.log(c * torch.clamp(threshold, min=i) + 1) + 1e-6)
        return part.heads(torch.relu(part.hidden(place)))[h]

    torch.testing.assert_close(bias(part, info()).tril().expand(2, -1, -1, -1), pairs(one))
    part.reset_parameters()
    assert (part.c.item(), part.threshold.item() * part.unit) == (pytest.approx(0.1), 4.0)


@pytest.mark.parametrize("bound", [None, 16.0])
def test_dynamic_bias(bound):
    part = position("dynamic_bias", width=5, bound=bound)

    def one(distance, h):
        place = torch.tensor([math.copysign(math.log(1 + abs(distance)), distance)], dtype=torch.float64)
        value = part.heads(torch.relu(part.hidden(place)))[h]
        return value if bound is None else bound * torch.sigmoid(value)

    wanted = torch.stack([torch.stack([torch.stack([one(i - j, h) for j in range(T)]) for i in range(T)]) for h in range(H)])
    torch.testing.assert_close(bias(part, info(causal=False))[0], wanted)
    torch.testing.assert_close(bias(part, info())[0].tril(), wanted.tril())


@pytest.mark.parametrize("furthest", [2, 16])
def test_shaw(furthest):
    part = position("shaw", max_distance=furthest)
    q, _ = qk()
    table = part.table.weight

    def row(distance):
        near = min(abs(distance), furthest)
        return table[near if distance >= 0 else furthest + near]

    wanted = torch.stack([torch.stack([q[:, :, i] @ row(i - j) for j in range(T)], -1) for i in range(T)], -2) / K**0.5
    torch.testing.assert_close(bias(part, info(causal=False)), wanted)
    torch.testing.assert_close(bias(part, info()).tril(), wanted.tril())


def test_transformer_xl():
    part = position("transformer_xl")
    q, k = qk()
    u, v = part.u.view(H, K), part.v.view(H, K)

    def relative(distance, h):
        phase = distance * 10000.0 ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
        return part.r(torch.cat((phase.sin(), phase.cos()))).view(H, K)[h]

    wanted = torch.zeros(2, H, T, T, dtype=torch.float64)
    for h in range(H):
        for i in range(T):
            for j in range(T):
                keys = k[:, h // (H // G), j]
                wanted[:, h, i, j] = (keys @ u[h] + (q[:, h, i] + v[h]) @ relative(i - j, h)) / K**0.5
    torch.testing.assert_close(bias(part, info(causal=False)), wanted)
    torch.testing.assert_close(bias(part, info()).tril(), wanted.tril())


@pytest.mark.parametrize("rows", [3, 64])
def test_cope(rows):
    part = position("cope", n_positions=rows)
    q, k = qk()
    table = part.table.weight

    def one(row, h, i, j):
        gates = torch.sigmoid(k[row, h // (H // G), j : i + 1] @ q[row, h, i] / K**0.5)
        p = gates.sum().clamp(max=rows - 1)
        low = int(p)
        high = min(low + 1, rows - 1)
        return q[row, h, i] @ (table[low] * (1 - (p - low)) + table[high] * (p - low))

    torch.testing.assert_close(bias(part, info()).tril(), pairs(one))


@pytest.mark.parametrize("name", BIASES)
def test_a_later_call_with_cached_keys_gives_the_same_numbers(name):
    part = position(name)
    whole = bias(part, info())
    keys, later = info(), info([[4, 5, 6]])
    part_of_it = bias(part, keys, later)
    seen = torch.ones(T, T, dtype=torch.bool).tril()[4:]
    for a, b in zip(part_of_it.expand(2, -1, -1, -1).flatten(0, 1), whole.expand(2, -1, -1, -1).flatten(0, 1), strict=True):
        torch.testing.assert_close(a[seen], b[4:][seen], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in BIASES if n != "cope"])
def test_distances_are_right_where_a_cache_has_dropped_keys(name):
    """Positions 0 and 90 to 92, as a cache of first positions and a window keeps them: distances beyond the number of keys."""
    part = position(name)
    q, k = qk(1, 4)
    kept = part.bias(q[:, :, -1:], k, info([[92]]), info([[0, 90, 91, 92]]))
    gaps = torch.zeros(1, G, 93, K, dtype=torch.float64)
    gaps[:, :, [0, 90, 91, 92]] = k
    everything = SequenceInfo(positions=torch.arange(93)[None])
    queries = torch.zeros(1, H, 93, K, dtype=torch.float64)
    queries[:, :, 92:] = q[:, :, -1:]
    whole = part.bias(queries, gaps, everything, everything)
    torch.testing.assert_close(kept[0, :, 0], whole[0, :, 92, [0, 90, 91, 92]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", BIASES)
def test_documents_have_distances_and_counts_of_their_own(name):
    part = position(name)
    documents = torch.tensor([[0, 0, 0, 0, 1, 1, 1]])
    packed = bias(part, info([[0, 1, 2, 3, 0, 1, 2]], documents=documents))
    q, k = qk()
    for cut in (slice(0, 4), slice(4, 7)):
        at = SequenceInfo(positions=torch.arange(cut.stop - cut.start)[None])
        alone = part.bias(q[:, :, cut], k[:, :, cut], at, at)
        torch.testing.assert_close(packed[:, :, cut, cut].tril(), alone.tril())


@pytest.mark.parametrize("name", [*BIASES, "log_temperature", "xpos", "rope_2d"])
@pytest.mark.parametrize("causal", [True, False])
def test_flops(name, causal):
    """Attention's with the position against the same without it; causal or not."""
    part, plain = (
        build("attention", "gqa", d_model=D, context_length=32, n_heads=H, n_kv_heads=G, head_dim=K, position=p)
        for p in (name, "none")
    )
    at = SequenceInfo(positions=torch.arange(20)[None], causal=causal)
    counts = []
    for attention in (part, plain):
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            attention(torch.randn(1, 20, D), at)
        counts.append(counter.get_total_flops())
    said = flops_of(part.position, Work(20, causal=causal))
    assert counts[0] - counts[1] == said.executed
    assert 0 <= said.algorithm <= said.executed


def test_log_temperature_numbers():
    part = build("position", "log_temperature", scale=0.1, floor_scale=4)
    q = torch.ones(1, 1, 12, 2)
    grown, k = part.rotate(q, q, SequenceInfo(positions=torch.arange(12)[None]), None)
    wanted = [math.log1p(math.floor((p + 1) / 4)) * 0.1 + 1 for p in range(12)]
    assert grown[0, 0, :, 0].tolist() == pytest.approx(wanted)
    assert grown[0, 0, 2, 0] == 1.0 < grown[0, 0, 3, 0]
    assert k is q


def test_log_temperature_goes_around_another_position():
    x, at = torch.randn(1, H, T, K), info()
    rope = build("position", "rope", head_dim=K)
    part = build("position", "log_temperature", head_dim=K, n_heads=H, floor_scale=2, inner="rope")
    (q, k), (inner_q, inner_k) = part.rotate(x, x, at, at), rope.rotate(x, x, at, at)
    torch.testing.assert_close(q, inner_q * part.growth(at.positions)[:, None, :, None])
    torch.testing.assert_close(k, inner_k)
    around = build("position", "log_temperature", head_dim=K, n_heads=H, inner="alibi")
    assert torch.equal(around.bias(None, None, at, at), build("position", "alibi", n_heads=H).bias(None, None, at, at))
    assert not hasattr(build("position", "log_temperature", head_dim=K), "bias")


def test_xpos_scores_depend_on_distance_and_decay():
    part = build("position", "xpos", head_dim=K, scale_base=4.0)
    x = torch.ones(1, 1, 9, K)
    q, k = part.rotate(x, x, *[SequenceInfo(positions=torch.arange(9)[None])] * 2)
    scores = (q @ k.transpose(-1, -2))[0, 0]
    for distance in range(9):
        pair = torch.arange(0, K, 2) / K
        zeta = (pair + 0.4) / 1.4
        wanted = (2 * zeta ** (distance / 4.0) * torch.cos(distance * 10000.0**-pair)).sum()
        torch.testing.assert_close(scores.diagonal(-distance), wanted.expand(9 - distance), rtol=1e-4, atol=1e-4)


def test_xpos_in_both_layouts_is_the_same_but_for_the_order_of_channels():
    x = torch.randn(1, 2, 5, K)
    order = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])  # half -> interleaved
    at = [SequenceInfo(positions=torch.arange(5)[None])] * 2
    half, pairs_ = (build("position", "xpos", head_dim=K, layout=n) for n in ("half", "interleaved"))
    for a, b in zip(half.rotate(x, x, *at), pairs_.rotate(x[..., order], x[..., order], *at), strict=True):
        torch.testing.assert_close(a[..., order], b)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_rope_2d_scores_depend_on_rows_and_columns_between(layout):
    part = build("position", "rope_2d", head_dim=K, width=3, layout=layout)
    x = torch.randn(1, 1, 1, K).expand(1, 1, 12, K)
    q, k = part.rotate(x, x, *[SequenceInfo(positions=torch.arange(12)[None])] * 2)
    scores, found = (q @ k.transpose(-1, -2))[0, 0], {}
    for i in range(12):
        for j in range(12):
            found.setdefault((i // 3 - j // 3, i % 3 - j % 3), []).append(scores[i, j])
    for same in found.values():
        torch.testing.assert_close(torch.stack(same), same[0].expand(len(same)), rtol=1e-4, atol=1e-4)
    assert abs(scores[3, 0] - scores[1, 0]) > 1e-3  # one row down is not one column on
    one = build("position", "rope", head_dim=K // 2, layout=layout)
    row, _ = one.rotate(x[..., : K // 2], x[..., : K // 2], *[SequenceInfo(positions=torch.arange(12)[None] // 3)] * 2)
    torch.testing.assert_close(q[..., : K // 2], row)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("t5_bias", {"buckets": 3}, "buckets=3 must be at least 4"),
        ("t5_bias", {"buckets": 32, "max_distance": 16}, "max_distance=16 beyond half"),
        ("transformer_xl", {"d_model": 31}, "d_model=31 is odd"),
        ("xpos", {"head_dim": 7}, "head_dim=7 is odd"),
        ("rope_2d", {"head_dim": 6}, "head_dim=6 is no multiple of 4"),
        ("log_temperature", {"inner": "learned"}, "added to the embedding"),
    ],
)
def test_what_cannot_be_is_refused(name, options, message):
    sizes = {n: v for n, v in SIZES.items() if n in build_sizes(name)}
    with pytest.raises(UserError, match=message):
        build("position", name, **{**sizes, **options})


def build_sizes(name):
    from components.core import registry

    return registry.entry("position", name).signature.sizes


@pytest.mark.parametrize("name", ["log_temperature", "xpos"])
def test_a_norm_that_would_undo_what_the_position_does_is_refused(name):
    with pytest.raises(UserError, match="qk_norm_at=after would undo"):
        build("attention", "gqa", d_model=D, n_heads=H, position=name, qk_norm="rms", qk_norm_at="after")
    build("attention", "gqa", d_model=D, n_heads=H, position=name, qk_norm="rms")
