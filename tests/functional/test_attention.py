"""Every kernel against the naive reference, over what a mask can ask for; and which kernel is chosen when."""

from __future__ import annotations

import itertools

import pytest
import torch
from graphs import graph_of
from torch._subclasses.fake_tensor import FakeTensorMode

from components import build
from components.core.positions import count_positions
from components.core.sockets import SequenceInfo
from components.functional import attention as A
from components.functional import attention_choice, banded, pieces
from components.functional import products as P
from components.functional.attention_mask import EVERYTHING, MaskSpec
from components.functional.flex import flex_attend
from components.parts.mask.blocks import BlocksMask
from components.parts.mask.chunked import ChunkedMask
from components.parts.mask.dilated import DilatedMask
from components.parts.mask.first_and_window import FirstAndWindowMask
from components.parts.mask.full import FullMask
from components.parts.mask.sliding_window import SlidingWindowMask

B, H, G, T, K = 2, 4, 2, 10, 8
WINDOW = SlidingWindowMask(window=3)


def tensors(dtype=torch.float64, tq=T, tk=T):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(B, h, t, K, generator=g).to(dtype).requires_grad_() for h, t in ((H, tq), (G, tk), (G, tk))]


def info(documents=False, padding=False, prefix=False, causal=True, t=T):
    ids = torch.zeros(B, t, dtype=torch.long)
    docs = torch.tensor([[0] * 4 + [1] * (t - 4), [0] * t]) if documents else None
    valid = None
    if padding:
        valid = torch.ones(B, t, dtype=torch.bool)
        valid[0, :3] = False
    first = torch.tensor([2, 5]) if prefix else None
    return SequenceInfo(positions=count_positions(ids, docs, valid), documents=docs, valid=valid, causal=causal, prefix=first)


def naive_seen(i, rule, causal):
    """Pair by pair, in plain Python."""
    t = i.positions.shape[1]
    seen = torch.zeros(B, 1, t, t, dtype=torch.bool)
    for b, q, k in itertools.product(range(B), range(t), range(t)):
        p = i.positions.expand(B, -1)
        ok = not causal or k <= q
        ok = ok and ALLOWED[rule.key](int(p[b, q]), int(p[b, k]))
        if causal and i.prefix is not None:
            ok = ok or p[b, k] < i.prefix[b]
        if i.documents is not None:
            ok = ok and i.documents[b, q] == i.documents[b, k]
        if i.valid is not None:
            ok = ok and bool(i.valid[b, k])
        seen[b, 0, q, k] = bool(ok)
    seen |= ~seen.any(-1, keepdim=True)
    return seen


ALLOWED = {
    ("full",): lambda q, k: True,  # noqa: ARG005
    ("sliding_window", 3): lambda q, k: abs(q - k) < 3,
    ("chunked", 3): lambda q, k: q // 3 == k // 3,
    ("blocks", 2, 1): lambda q, k: abs(q // 2 - k // 2) <= 1,
    ("dilated", 6, 2): lambda q, k: abs(q - k) in (0, 2, 4),
    ("first_and_window", 2, 3): lambda q, k: abs(q - k) < 3 or k < 2,
}
MASKS = [
    dict(),
    dict(documents=True),
    dict(padding=True),
    dict(prefix=True),
    dict(causal=False),
    dict(causal=False, padding=True),
    dict(documents=True, padding=True),
]


@pytest.mark.parametrize("rule", [FullMask(), WINDOW], ids=["full", "window"])
@pytest.mark.parametrize("mask", MASKS, ids=lambda m: "+".join(m) or "causal")
@pytest.mark.parametrize("extra", ["", "bias", "scale"])
def test_kernels_agree_with_the_reference(rule, mask, extra):
    q, k, v = tensors()
    i = info(**mask)
    causal = mask.get("causal", True)
    bias = torch.randn(1, H, T, T, dtype=torch.float64) if extra == "bias" else None
    scale = 0.3 if extra == "scale" else None
    want = A.reference(q, k, v, naive_seen(i, rule, causal), bias=bias, scale=scale)
    spec = MaskSpec(i, i, causal, rule)
    got = {
        "fused": A._fused(q, k, v, spec, bias, scale, 0.0),
        "products": A._products(q, k, v, spec, bias, scale, None, None, 0.0),
        "chosen": A.attend(q, k, v, spec, bias=bias, scale=scale),
    }
    g = torch.randn_like(want)
    gradients = torch.autograd.grad(want, (q, k, v), g)
    for name, out in got.items():
        torch.testing.assert_close(out, want, msg=name)
        for a, b in zip(torch.autograd.grad(out, (q, k, v), g), gradients, strict=True):
            torch.testing.assert_close(a, b, msg=name)


@pytest.mark.parametrize("mask", [dict(), dict(documents=True), dict(padding=True)], ids=lambda m: "+".join(m) or "causal")
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_agrees_with_the_reference(mask):
    q, k, v = (t.detach().float() for t in tensors())
    i = info(**mask)
    bias = torch.randn(1, H, T, T)
    for b, cap in ((None, None), (bias, None), (None, 5.0)):
        got = flex_attend(q, k, v, MaskSpec(i, i, True, WINDOW), bias=b, scale=None, soft_cap=cap)
        want = A.reference(q, k, v, naive_seen(i, WINDOW, True), bias=b, soft_cap=cap)
        some = naive_seen(i, WINDOW, True).sum(-1)[:, :, :, None] < T  # a query that sees nothing is 0 here and a mean there
        torch.testing.assert_close(got * some, want * some, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "rule",
    [ChunkedMask(size=3), BlocksMask(size=2, back=1), DilatedMask(window=6, stride=2), FirstAndWindowMask(first=2, window=3)],
    ids=lambda r: r.key[0],
)
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_every_kernel_follows_every_mask(rule):
    q, k, v = (t.detach().float() for t in tensors())
    for i in (info(), info(documents=True), info(causal=False), info(prefix=True)):
        spec = MaskSpec(i, i, i.causal, rule)
        want = A.reference(q, k, v, naive_seen(i, rule, i.causal))
        got = {
            "fused": A._fused(q, k, v, spec, None, None, 0.0),
            "products": A._products(q, k, v, spec, None, None, None, None, 0.0),
            "flex": flex_attend(q, k, v, spec, bias=None, scale=None, soft_cap=None),
        }
        for name, out in got.items():
            torch.testing.assert_close(out, want, rtol=1e-4, atol=1e-5, msg=name)


def uneven_info(length, documents=(), padding=(0, 0)):
    """Documents that begin at ``documents``, and so many padded positions before and after the first row's text."""
    ids = torch.zeros(B, length, dtype=torch.long)
    docs, valid = None, None
    if documents:
        docs = torch.stack([sum((torch.arange(length) >= d).long() for d in documents), ids[0]])
    if padding != (0, 0):
        valid = torch.ones(B, length, dtype=torch.bool)
        valid[0, : padding[0]], valid[0, length - padding[1] :] = False, False
    return SequenceInfo(positions=count_positions(ids, docs, valid), documents=docs, valid=valid, causal=True)


@pytest.mark.parametrize(
    "rule",
    [SlidingWindowMask(window=5), ChunkedMask(size=6), BlocksMask(size=3, back=1), DilatedMask(window=6, stride=2)],
    ids=lambda r: r.key[0],
)
@pytest.mark.parametrize(
    "uneven",
    [{}, {"documents": (3, 11, 12)}, {"padding": (7, 0)}, {"padding": (0, 9)}, {"documents": (20,), "padding": (2, 3)}],
    ids=lambda u: "+".join(u) or "plain",
)
@pytest.mark.parametrize("length", [24, 29])
def test_bands_agree_with_the_reference(monkeypatch, rule, uneven, length):
    """Blocks of queries see what one mask over everything shows them, in both passes, whether or not the last block is full."""
    monkeypatch.setattr(banded, "SMALLEST", 1)
    q, k, v = tensors(tq=length, tk=length)
    i = uneven_info(length, **uneven)
    spec = MaskSpec(i, i, True, rule)
    assert A.choose(q, k, k, spec=spec, soft_cap=None, sinks=None, bias=None, dropout=0.0)[0] == "banded"
    want = A.reference(q, k, v, spec.dense(q.device), scale=0.3)
    got = A.attend(q, k, v, spec, scale=0.3)
    used = torch.ones(B, length, dtype=torch.bool) if i.valid is None else i.valid  # what padding reads is used by nobody
    g = torch.randn_like(want) * used[:, None, :, None]
    torch.testing.assert_close(got * used[:, None, :, None], want * used[:, None, :, None])
    assert got.isfinite().all()
    for a, b in zip(torch.autograd.grad(got, (q, k, v), g), torch.autograd.grad(want, (q, k, v), g), strict=True):
        torch.testing.assert_close(a, b)


def test_no_bands_where_a_near_position_may_be_in_a_far_column(monkeypatch):
    monkeypatch.setattr(banded, "SMALLEST", 1)
    q, k, _ = tensors(tq=24, tk=24)
    plain = uneven_info(24)
    ids = torch.zeros(B, 24, dtype=torch.long)
    restart = plain.with_(positions=torch.arange(24)[None] % 12)
    back = plain.with_(positions=torch.arange(24)[None] % 8, documents=torch.arange(24)[None] // 8 % 2)
    hole = ids == 0
    hole[0, 5:9] = False
    hole_info = plain.with_(positions=count_positions(ids, None, hole), valid=hole)
    prefix = plain.with_(prefix=torch.tensor([2, 5]))
    for i in (restart, back, hole_info, prefix):
        assert banded.block_of(q, k, MaskSpec(i, i, True, WINDOW)) == 0
    assert banded.block_of(q, k, MaskSpec(plain, plain, False, WINDOW)) == 0
    assert banded.block_of(q, k, MaskSpec(plain, plain, True, FirstAndWindowMask(first=2, window=3))) == 0
    assert banded.block_of(q, k, MaskSpec(plain, plain, True, WINDOW)) == 3


def test_the_rule_that_hides_nothing_is_mask_full():
    """Equal keys, equal rule: what is computed of one serves the other."""
    assert EVERYTHING.key == FullMask.key
    i = info(documents=True)
    assert MaskSpec(i, i, True, EVERYTHING).dense(torch.device("cpu")) is MaskSpec(i, i, True, FullMask()).dense(
        torch.device("cpu")
    )
    for causal in (True, False):
        assert [EVERYTHING.cells(n, causal) for n in range(9)] == [FullMask().cells(n, causal) for n in range(9)]


def test_soft_cap_and_sinks():
    q, k, v = tensors()
    i = info(documents=True)
    sinks = torch.randn(H, dtype=torch.float64)
    for cap, sink in ((2.0, None), (None, sinks), (2.0, sinks)):
        got = A.attend(q, k, v, MaskSpec(i, i, True, FullMask()), soft_cap=cap, sinks=sink)
        torch.testing.assert_close(got, A.reference(q, k, v, naive_seen(i, FullMask(), True), soft_cap=cap, sinks=sink))


def test_bf16_is_close_and_keeps_its_dtype():
    q, k, v = (t.detach() for t in tensors(torch.bfloat16))
    i = info()
    out = A.attend(q, k, v, MaskSpec(i, i, True, FullMask()))
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), A.reference(q, k, v, naive_seen(i, FullMask(), True)).float(), rtol=0.05, atol=0.02)


def test_a_query_that_sees_nothing_is_finite():
    q, k, v = tensors()
    i = info(padding=True)
    for kernel in (
        A._fused(q, k, v, MaskSpec(i, i, True, WINDOW), None, None, 0.0),
        A._products(q, k, v, MaskSpec(i, i, True, WINDOW), None, None, None, None, 0.0),
    ):
        assert torch.isfinite(kernel).all()


def test_dropout_keeps_the_mean_and_takes_the_product_path():
    q, k, v = (t.detach().float() for t in tensors())
    v = 0.6 + 0.4 * v.abs().clamp(max=1)  # near one another, so that a mean over 600 draws is within 0.15 and half of it is not
    i = info()
    spec = MaskSpec(i, i, True, FullMask())
    torch.manual_seed(0)
    mean = torch.stack([A.attend(q, k, v, spec, dropout=0.5) for _ in range(600)]).mean(0)
    torch.testing.assert_close(mean, A.attend(q, k, v, spec), rtol=0, atol=0.15)
    assert A.choose(q, k, k, spec=spec, soft_cap=None, sinks=None, bias=None, dropout=0.5)[0] == "products"


@pytest.mark.parametrize(
    ("dtype", "length", "kernel"),
    [
        (torch.float32, 64, "fused"),
        (torch.float32, 512, "fused"),
        (torch.bfloat16, 512, "products"),
        (torch.bfloat16, 4096, "products"),
        (torch.bfloat16, 8193, "fused"),
        (torch.float16, 4096, "fused"),
        (torch.float64, 64, "fused"),
    ],
)
def test_choice_on_a_cpu(dtype, length, kernel, monkeypatch):
    monkeypatch.setattr(P, "multiplies_bf16", lambda _: True)
    q = torch.empty(1, 2, length, 8, dtype=dtype, device="cpu")
    i = SequenceInfo(positions=torch.arange(length)[None])
    assert (
        A.choose(q, q, q, spec=MaskSpec(i, i, True, FullMask()), soft_cap=None, sinks=None, bias=None, dropout=0.0)[0] == kernel
    )


@pytest.mark.parametrize(
    ("width", "value_width", "masked", "capped"),
    [(16, 32, "flex", "flex"), *(((*w, "fused", "products")) for w in ((8, 16), (15, 64), (64, 8)))],
)
def test_narrow_heads_are_not_for_the_compiled_kernel(width, value_width, masked, capped):
    """Compiled for a GPU, flex multiplies 16 channels at least, of keys and of values; only shapes are looked at here."""
    i = SequenceInfo(positions=torch.arange(256)[None])
    with FakeTensorMode():
        q, v = (torch.empty(1, 2, 256, w, dtype=torch.bfloat16, device="cuda") for w in (width, value_width))
    for cap, kernel in ((None, masked), (5.0, capped)):
        spec = MaskSpec(i, i, True, WINDOW)
        assert A.choose(q, q, v, spec=spec, soft_cap=cap, sinks=None, bias=None, dropout=0.0)[0] == kernel


def test_one_new_query_needs_no_mask_and_a_chunk_does():
    k_info = SequenceInfo(positions=torch.arange(8)[None])
    last = SequenceInfo(positions=torch.tensor([[7]]))
    two = SequenceInfo(positions=torch.tensor([[6, 7]]))
    assert MaskSpec(last, k_info, True, FullMask()).sees_all(1, 8)
    assert not MaskSpec(last, k_info, True, WINDOW).sees_all(1, 8)
    assert not MaskSpec(two, k_info, True, FullMask()).sees_all(2, 8)
    assert MaskSpec(two, k_info, True, WINDOW).dense(torch.device("cpu"))[0, 0].int().tolist() == [
        [0] * 4 + [1, 1, 1, 0],
        [0] * 5 + [1, 1, 1],
    ]


def test_products_a_few_heads_at_a_time(monkeypatch):
    """Pieces that do not divide the heads give what one piece gives, forward and backward."""
    q, k, v = tensors()
    i = info()
    results = []
    for at_once in (1 << 20, 3 * T * T):
        monkeypatch.setattr(pieces, "SCORES_AT_ONCE", at_once)
        out = A._products(q, k, v, MaskSpec(i, i, True, FullMask()), None, None, None, None, 0.0)
        results.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v))))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_a_cpu_without_products_in_bf16_keeps_the_fused_kernel(monkeypatch):
    monkeypatch.setattr(P, "multiplies_bf16", lambda _: False)
    q = torch.empty(1, 2, 1024, 8, dtype=torch.bfloat16)
    i = SequenceInfo(positions=torch.arange(1024)[None])
    for rule, causal in ((FullMask(), True), (FullMask(), False), (WINDOW, True)):
        asked = {"spec": MaskSpec(i, i, causal, rule), "soft_cap": None, "sinks": None, "bias": None, "dropout": 0.0}
        assert A.choose(q, q, q, **asked)[0] == ("banded" if rule is WINDOW else "fused")


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize(("length", "block"), [(128, 128), (200, 128), (256, 128), (300, 128), (1100, 256)])
def test_causal_blocks_are_the_whole_triangle(length, block, recorded):
    """Blocks that do and do not divide the length, in fp64: values and gradients as those of the formula."""
    assert pieces.causal_block(length) == block
    by_products(info(t=length), FullMask(), length, recorded=recorded)


@pytest.mark.parametrize("rule", [FullMask(), WINDOW])
@pytest.mark.parametrize(
    "said",
    [
        {"causal": False},
        {"documents": True},
        {"padding": True},
        {"documents": True, "padding": True, "causal": False},
        {"prefix": True},
        {},
    ],
)
def test_masks_of_texts_in_pieces(rule, said, monkeypatch):
    """Each text by its own mask, and by blocks of queries where none sees what comes later, in fp64."""
    length = 260
    monkeypatch.setitem(attention_choice.CPU_PRODUCTS_UP_TO, torch.bfloat16, length - 1)
    monkeypatch.setattr(pieces, "SCORES_AT_ONCE", 3 * length * length)  # which divides neither heads nor texts
    i = info(**said, t=length)
    spec = MaskSpec(i, i, i.causal, rule)
    q = torch.empty(B, H, length, K)
    mask, block = A.in_pieces(q, length, spec, biased=False, other=False, dropout=0.0)
    assert block == (length if "prefix" in said or "causal" in said else 128)
    assert mask is None or mask.shape[0] == (1 if not said.keys() - {"causal"} else B)
    by_products(i, rule, length)


@pytest.mark.parametrize("texts", [1, B])
@pytest.mark.parametrize("said", [{}, {"causal": False}, {"documents": True}, {"padding": True, "prefix": True}])
@pytest.mark.parametrize("cap", [None, 5.0])
@pytest.mark.parametrize("given", [("bias",), ("sinks",), ("bias", "sinks"), ()])
def test_biases_caps_and_sinks_in_pieces(given, cap, said, texts, monkeypatch):
    """Of all texts or of each, learnt: values and gradients as those of the formula, in fp64."""
    length = 260
    monkeypatch.setitem(attention_choice.CPU_PRODUCTS_UP_TO, torch.bfloat16, length - 1)
    monkeypatch.setattr(pieces, "SCORES_AT_ONCE", length * length // 2)  # which divides nothing
    g = torch.Generator().manual_seed(1)
    learnt = {
        "bias": torch.randn(texts, H, length, length, generator=g, dtype=torch.float64, requires_grad=True),
        "sinks": torch.randn(H, generator=g, dtype=torch.float64, requires_grad=True),
    }
    by_products(info(**said, t=length), FullMask(), length, cap=cap, **{name: learnt[name] for name in given})


def by_products(i, rule, length, recorded=True, cap=None, bias=None, sinks=None):
    q, k, v = tensors(tq=length, tk=length)
    spec = MaskSpec(i, i, i.causal, rule)
    seen = spec.dense(q.device).expand(B, 1, length, length)
    wide = None if bias is None else bias.expand(B, -1, -1, -1)
    want = A.reference(q, k, v, seen, bias=wide, soft_cap=cap, sinks=sinks)
    with torch.set_grad_enabled(recorded):
        out = A._products(q, k, v, spec, bias, None, cap, sinks, 0.0)
    used = (torch.ones(B, length, dtype=torch.bool) if i.valid is None else i.valid)[:, None, :, None]
    torch.testing.assert_close(out * used, want * used)
    if recorded:
        assert "LeanProducts" in graph_of(out)
        asked = [x for x in (q, k, v, bias, sinks) if x is not None]
        found, right = (torch.autograd.grad((y * used).square().sum(), asked) for y in (out, want))
        for a, b in zip(found, right, strict=True):
            torch.testing.assert_close(a, b)


def test_causal_blocks_make_no_square(monkeypatch):
    """At 1,024 positions nothing of 1,024 x 1,024 is made, and less than two thirds of its scores are computed."""
    length, sizes = 1024, []
    real = P._scores
    monkeypatch.setattr(P, "_scores", lambda *a: sizes.append((s := real(*a))[0].numel()) or s)
    i = SequenceInfo(positions=torch.arange(length)[None])
    q, k, v = tensors(torch.bfloat16, length, length)
    A._products(q, k, v, MaskSpec(i, i, True, FullMask()), None, None, None, None, 0.0)
    assert max(sizes) <= pieces.SCORES_AT_ONCE
    assert sum(sizes) < B * H * length**2 * 2 / 3


def test_windows_in_bf16_are_products_too(monkeypatch):
    """Within what products in bf16 may differ by, for shared keys and a length that blocks do not divide."""
    length = 300
    i = info(documents=True, t=length)
    spec = MaskSpec(i, i, True, WINDOW)
    q, k, v = (t.detach().requires_grad_() for t in tensors(torch.bfloat16, length, length))
    results = {}
    for wide in (True, False):
        monkeypatch.setattr(P, "multiplies_bf16", lambda _, wide=wide: wide)
        out = banded.banded_attend(q, k, v, spec, banded.block_of(q, k, spec), None)
        assert ("LeanProducts" in graph_of(out)) == wide
        results[wide] = out, *torch.autograd.grad(out.float().square().sum(), (q, k, v))
    for a, b in zip(*results.values(), strict=True):
        assert a.dtype == torch.bfloat16
        assert float(((a - b).float().norm() / b.float().norm()).detach()) < 0.02
    asked = {"spec": spec, "soft_cap": None, "sinks": None, "bias": None, "dropout": 0.0}
    monkeypatch.setattr(P, "multiplies_bf16", lambda _: True)
    assert A.choose(q, k, k, **asked)[0] == "banded", "also where squares are small"
    monkeypatch.setattr(P, "multiplies_bf16", lambda _: False)
    assert A.choose(q, k, k, **asked)[0] == "products"


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_positions_that_restart_without_documents_show_no_future():
    q, k, v = (t.detach().float() for t in tensors())
    positions = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 3, 4]])
    for rule in (FullMask(), WINDOW):
        i = SequenceInfo(positions=positions)
        spec = MaskSpec(i, i, True, rule)
        near = (positions[:, :, None] - positions[:, None, :]).abs() < WINDOW.window
        seen = torch.ones(T, T, dtype=torch.bool).tril() & (near if rule is WINDOW else True)
        want = A.reference(q, k, v, seen.expand(B, 1, T, T))
        got = {
            "fused": A._fused(q, k, v, spec, None, None, 0.0),
            "fused with a bias": A._fused(q, k, v, spec, torch.zeros(1, H, T, T), None, 0.0),
            "products": A._products(q, k, v, spec, None, None, None, None, 0.0),
            "flex": flex_attend(q, k, v, spec, bias=None, scale=None, soft_cap=None),
        }
        for name, out in got.items():
            torch.testing.assert_close(out, want, rtol=1e-4, atol=1e-5, msg=name)


def test_keys_in_fp32_beside_values_in_bf16_are_brought_together():
    q, k, v = tensors(torch.float32)
    i = info()
    out = A.attend(q, k, v.bfloat16(), MaskSpec(i, i, True, FullMask()))
    assert out.dtype == torch.bfloat16
    grads = torch.autograd.grad(out.float().square().sum(), (q, k, v))
    assert all(g.dtype == torch.float32 and torch.isfinite(g).all() for g in grads)


def test_lean_products_refuse_a_second_derivative():
    q, k, v = tensors()
    i = info()
    out = A._products(q, k, v, MaskSpec(i, i, True, FullMask()), None, None, None, None, 0.0)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(out.square().sum(), q, create_graph=True)


def test_bf16_products_round_scores_by_a_known_amount():
    """Scores of standard deviation 3, where rounding to bf16 before the softmax is felt."""
    t, width = 256, 64
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 4, t, width, generator=g) for _ in range(3))
    q, k, v = (3 * q).bfloat16(), k.bfloat16(), v.bfloat16()
    i = SequenceInfo(positions=torch.arange(t)[None])
    spec = MaskSpec(i, i, True, FullMask())
    want = A.reference(q.float(), k.float(), v.float(), torch.ones(1, 1, t, t, dtype=torch.bool).tril())
    errors = {
        "products": A._products(q, k, v, spec, None, None, None, None, 0.0),
        "fused": A._fused(q, k, v, spec, None, None, 0.0),
    }
    errors = {name: ((out.float() - want).norm() / want.norm()).item() for name, out in errors.items()}
    assert errors["fused"] < 0.004
    assert errors["products"] < 0.02


def test_compiled_for_lengths_that_vary():
    """From the second length on compile takes lengths as symbols, and the fused kernel's flag must be no symbol."""
    model = build(
        "model", "decoder", vocab_size=20, d_model=16, n_layers=1, context_length=16, attention={"name": "gqa", "n_heads": 2}
    )
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager", dynamic=True)
    for length in (12, 9, 7):
        ids = torch.arange(length)[None] % 20
        torch.testing.assert_close(compiled(ids), model(ids), rtol=1e-4, atol=1e-5)
