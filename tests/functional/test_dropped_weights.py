"""Attention's dropout in pieces: the draws of the whole, forward and backward, for every mask and precision; and nothing of T x T is kept."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from graphs import graph_of
from torch._subclasses.fake_tensor import FakeTensorMode

from components.core.draws import DRAWS, drawn_for, repeatable, wrapped
from components.core.positions import count_positions
from components.core.recompute import recomputed
from components.core.sockets import SequenceInfo
from components.functional import attention as A
from components.functional import attention_choice as C
from components.functional import banded, pieces
from components.functional import dropped_weights as D
from components.functional.attention_mask import MaskSpec
from components.functional.chosen import hearing
from components.functional.dropout import MIX, PLACES, dropout_of, kept, moved_on, numbers
from components.parts.mask.full import FullMask
from components.parts.mask.sliding_window import SlidingWindowMask
from components.training.estimate.live import Live

B, H, G, K = 4, 4, 2, 8
LONG = 260  # more than two blocks of queries, the last one smaller
DROP, SEED = 0.3, 5
SAMPLES = torch.arange(70, 70 + B)
FULL, WINDOW = FullMask(), SlidingWindowMask(window=20)
CLOSE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 0.02}  # of the norm
SAID = [{}, {"causal": False}, {"documents": True}, {"padding": True}, {"prefix": True}, {"documents": True, "causal": False}]


@pytest.fixture(autouse=True)
def _pieces_of_few(monkeypatch):
    """Pieces wherever a square is more than a line, so that what is tested here is small."""
    monkeypatch.setattr(C, "DROPPED_ALL_SEEN_UP_TO", C.DROPPED_AT_ONCE_UP_TO)


def tensors(dtype=torch.float64, length=LONG, texts=B):
    g = torch.Generator().manual_seed(0)
    made = [torch.randn(texts, h, length, K, generator=g, dtype=torch.float64) for h in (H, G, G)]
    return [x.to(dtype).requires_grad_() for x in made]


def info(documents=False, padding=False, prefix=False, causal=True, length=LONG, texts=B):
    ids = torch.zeros(texts, length, dtype=torch.long)
    cut, valid = ids.clone(), ids == 0
    cut[::2, length // 3 :] = 1
    valid[::2, length - 40 :] = False
    docs, valid = cut if documents else None, valid if padding else None
    first = torch.arange(2, 2 + texts) if prefix else None
    return SequenceInfo(positions=count_positions(ids, docs, valid), documents=docs, valid=valid, causal=causal, prefix=first)


def formula(q, k, v, seen, stays, bias=None, soft_cap=None, sinks=None):
    """With all weights and the whole mask, in fp64 and by autograd."""
    q, k, v = (x.double() for x in (q, k, v))
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = q @ k.mT * K**-0.5
    if soft_cap is not None:
        scores = soft_cap * torch.tanh(scores / soft_cap)
    scores = (scores if bias is None else scores + bias.double()).masked_fill(~seen, float("-inf"))
    if sinks is not None:
        scores = torch.cat((scores, sinks.double().view(1, -1, 1, 1).expand(*scores.shape[:3], 1)), -1)
    weights = torch.softmax(scores, -1)[..., : v.shape[2]]
    return (weights * stays / (1.0 - DROP)) @ v


def whole(texts=B, length=LONG, samples=SAMPLES, calls=1):
    """The mask (B, H, T, T) of a call, as dropout draws it of all weights at once."""
    with drawn_for(SEED, samples):
        for _ in range(calls):
            keys = moved_on(DRAWS.keys)
    several = texts // len(samples)
    shape = (texts, H, length, length) if several == 1 else (len(samples), several, H, length, length)
    return kept(torch.Size(shape), DROP, keys).view(texts, H, length, length)


def agrees(dtype, i, rule, *, length=LONG, samples=SAMPLES, kernel=None, **given):
    q, k, v = tensors(dtype, length)
    spec = MaskSpec(i, i, i.causal, rule)
    learnt = [x for x in given.values() if isinstance(x, torch.Tensor)]
    with drawn_for(SEED, samples), hearing() as heard:
        out = A.attend(q, k, v, spec, dropout=DROP, **given)
    if kernel:
        assert [c.kernel for c in heard] == [kernel]
    assert "LeanProducts" in graph_of(out)
    want = formula(q, k, v, spec.dense(q.device), whole(length=length, samples=samples), **given)
    used = (torch.ones(B, length, dtype=torch.bool) if i.valid is None else i.valid)[:, None, :, None]
    g = torch.randn(want.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * used
    found = torch.autograd.grad(out, [q, k, v, *learnt], g.to(out.dtype))
    right = torch.autograd.grad(want, [q, k, v, *learnt], g)
    assert out.dtype == dtype
    assert out.isfinite().all()
    for a, b in zip([out * used, *found], [want * used, *right], strict=True):
        off = float(((a.double() - b.double()).norm() / b.double().norm()).detach())
        assert off < CLOSE[dtype], off


def small(monkeypatch, scores, numbers_at_once):
    monkeypatch.setattr(pieces, "SCORES_AT_ONCE", scores)
    monkeypatch.setattr(D, "AT_ONCE", numbers_at_once)


SIZES = {"one": (1 << 20, 1 << 18), "texts": (6 * 128 * LONG, 1000), "heads": (3 * 128 * LONG, 70_000)}


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("rule", [FULL, WINDOW], ids=["full", "window"])
@pytest.mark.parametrize("said", SAID, ids=lambda s: "+".join(s) or "causal")
def test_values_and_gradients_are_those_of_the_whole_mask(dtype, rule, said):
    banded_here = rule is WINDOW and not {"causal", "prefix"} & said.keys()
    agrees(dtype, info(**said), rule, kernel="banded" if banded_here else "products")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("said", SAID, ids=lambda s: "+".join(s) or "causal")
@pytest.mark.parametrize("rule", [FULL, WINDOW], ids=["full", "window"])
def test_however_it_is_cut(size, rule, said, monkeypatch):
    small(monkeypatch, *SIZES[size])
    agrees(torch.float64, info(**said), rule)


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("said", SAID[:4], ids=lambda s: "+".join(s) or "causal")
@pytest.mark.parametrize("given", [("bias",), ("sinks",), ("cap",), ("bias", "sinks", "cap"), ("each",)], ids="+".join)
def test_biases_caps_and_sinks(dtype, said, given, monkeypatch):
    small(monkeypatch, 3 * LONG * LONG, 40_000)
    g = torch.Generator().manual_seed(1)
    there = {}
    if {"bias", "each"} & {*given}:
        texts = B if "each" in given else 1
        there["bias"] = torch.randn(texts, H, LONG, LONG, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
    if "sinks" in given:
        there["sinks"] = torch.randn(H, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
    agrees(dtype, info(**said), FULL, **there, soft_cap=5.0 if "cap" in given else None)


@pytest.mark.parametrize("rule", [FULL, WINDOW], ids=["full", "window"])
@pytest.mark.parametrize("said", [{}, {"documents": True}], ids=lambda s: "+".join(s) or "causal")
@pytest.mark.parametrize("size", SIZES)
def test_rows_that_are_several_texts(size, rule, said, monkeypatch):
    small(monkeypatch, *SIZES[size])
    agrees(torch.float64, info(**said), rule, samples=SAMPLES[: B // 2])


def test_bands_whose_heads_are_torn_apart(monkeypatch):
    """Fewer scores at once than one text has, and no whole number of texts."""
    monkeypatch.setattr(banded, "SMALLEST", 1)
    size = WINDOW.window
    for heads in (1, 3, 5, 11):
        small(monkeypatch, heads * 2 * size * size, 500)
        agrees(torch.float64, info(), WINDOW, kernel="banded")
        agrees(torch.float64, info(documents=True), WINDOW, kernel="banded")


def test_places_beyond_what_is_kept_are_the_same(monkeypatch):
    monkeypatch.setattr(D, "KEPT_UP_TO", 0)
    for rule, said in ((FULL, {}), (FULL, {"causal": False}), (WINDOW, {})):
        agrees(torch.float64, info(**said), rule)
        agrees(torch.float64, info(**said), rule, samples=SAMPLES[: B // 2])


@pytest.mark.parametrize("dtype", [*CLOSE, torch.float16], ids=str)
@pytest.mark.parametrize(("said", "most"), [({}, 128), ({"causal": False}, 512), ({"padding": True, "causal": False}, 512)])
def test_squares_are_kept_where_all_at_once_is_faster(dtype, said, most, monkeypatch):
    monkeypatch.setattr(C, "DROPPED_ALL_SEEN_UP_TO", 512)
    for length, why in ((most, C.DROPS_AT_ONCE), (most + 1, C.DROPS_IN_PIECES)):
        i = info(length=length, **said)
        with drawn_for(SEED, SAMPLES), hearing() as heard:
            out = A.attend(*tensors(dtype, length), MaskSpec(i, i, i.causal, FULL), dropout=DROP)
        assert [(c.kernel, c.why) for c in heard] == [("products", why)]
        assert ("LeanProducts" in graph_of(out)) == (length > most)
        out.float().sum().backward()


def by_hand(key, places):
    """One draw in plain whole numbers, as it has been since draws belong to samples."""

    def shifted(x, by):
        return wrapped(x, 32) >> by  # with its sign

    total = sum(place * factor for place, factor in zip(places, PLACES)) % 2**32
    total = (total ^ shifted(total, 16)) * 0x7FEB352D % 2**32
    total = (total ^ shifted(total, 15)) % 2**32
    drawn = (total * (wrapped(key >> 17, 32) | 1) + (key >> 32)) % 2**32
    return wrapped((drawn ^ shifted(drawn, 15)) * MIX, 32)


def test_a_run_that_was_begun_goes_on_with_its_draws():
    keys = torch.tensor([-(2**62) + 12345, 987654321987654321])
    drawn = numbers(torch.Size((2, H, 30, 40)), keys)
    for place in ((0, 0, 0, 0), (1, 3, 29, 39), (0, 2, 7, 31), (1, 1, 20, 5)):
        assert drawn[place] == by_hand(int(keys[place[0]]), place[1:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_dropout_of_hidden_states_is_what_it_was(dtype):
    """Bit for bit: products with 0 and 1 / (1 - p)."""
    x = torch.randn(B, 9, 7, dtype=torch.float64).to(dtype)
    for p in (0.1, 0.5):
        with drawn_for(SEED, SAMPLES):
            ours = dropout_of(x, p)
        with drawn_for(SEED, SAMPLES):
            factor = kept(x.shape, p, moved_on(DRAWS.keys)).to(dtype).mul_(1.0 / (1.0 - p))
        assert torch.equal(ours, x * factor)


@pytest.mark.parametrize("rule", [FULL, WINDOW], ids=["full", "window"])
def test_rows_draw_the_same_wherever_they_are_computed(rule):
    """One process, or each row in another: what a rank of some rows or a micro-batch has."""
    q, k, v = (x.detach() for x in tensors())

    def attended(rows):
        i = info(documents=True)
        i = i.with_(positions=i.positions[rows], documents=i.documents[rows])
        with drawn_for(SEED, SAMPLES[rows]):
            spec = MaskSpec(i, i, True, rule)
            return torch.stack([A.attend(q[rows], k[rows], v[rows], spec, dropout=DROP) for _ in range(2)], 1)

    one = attended(slice(0, B))
    assert not torch.allclose(one[:, 0], one[:, 1])
    for part in (slice(0, 1), slice(1, 3), slice(2, 4)):
        torch.testing.assert_close(attended(part), one[part], rtol=1e-12, atol=1e-12)


def test_what_is_computed_again_draws_the_same():
    """Checkpointing, by samples and by torch's generator."""
    i = info()
    spec = MaskSpec(i, i, True, FULL)
    for samples in (SAMPLES, None):
        grads = []
        for again in (False, True, "selective"):
            q, k, v = tensors()
            torch.manual_seed(4)
            with drawn_for(SEED, samples):
                run = repeatable(lambda q, k, v: A.attend(q, k, v, spec, dropout=DROP))
                out = recomputed(again, run, q, k, v) if again else run(q, k, v)
            grads.append(torch.autograd.grad(out.square().sum(), (q, k, v)))
        for a, *others in zip(*grads, strict=True):
            assert all(torch.equal(a, b) for b in others)


def test_without_samples_torchs_generator_says_what_is_drawn():
    q, k, v = (x.detach() for x in tensors())
    i = info()
    spec = MaskSpec(i, i, True, FULL)

    def attended(seed):
        torch.manual_seed(seed)
        return [A.attend(q, k, v, spec, dropout=DROP) for _ in range(2)]

    (one, other), again, unlike = attended(1), attended(1), attended(2)
    assert torch.equal(one, again[0])
    assert not torch.allclose(one, other)
    assert not torch.allclose(one, unlike[0])
    assert not torch.allclose(one[0], one[1])
    v[:] = 1.0  # so that an output is the sum of the weights that stay
    sums = torch.stack(attended(3))[..., 100:, :]
    assert float(sums.mean()) == pytest.approx(1.0, abs=0.01)


def held(length, dtype, rule, said, cap, how=False):
    """Bytes: what autograd keeps of one layer's attention, without the mask that all layers share; what is alive after its forward pass; the most during both."""
    q, k, v = tensors(dtype, length, texts=1)
    i = info(**said, length=length, texts=1)
    spec = MaskSpec(i, i, i.causal, rule)
    sinks = torch.randn(H, dtype=dtype, requires_grad=True) if cap else None
    found = {}

    def note(x):
        found[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    def run(q, k, v):
        return A.attend(q, k, v, spec, dropout=DROP, sinks=sinks, soft_cap=5.0 if cap else None)

    with drawn_for(SEED, SAMPLES[:1]):
        run(q, k, v)  # masks are made
        masks = [x for x in i.memo.values() if isinstance(x, torch.Tensor)]
        shared = {x.untyped_storage().data_ptr() for x in masks}
        again = repeatable(run)
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda x: x) if not how else nullcontext(),
            Live((q, k, v, *masks)) as live,
        ):
            out = recomputed(how, again, q, k, v) if how else run(q, k, v)
            after = live.now
            out.backward(torch.ones_like(out))
    return sum(size for at, size in found.items() if at not in shared), after, live.peak


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("cap", [False, True], ids=["plain", "cap and sinks"])
@pytest.mark.parametrize("said", SAID[:4], ids=lambda s: "+".join(s) or "causal")
@pytest.mark.parametrize("rule", [FULL, WINDOW], ids=["full", "window"])
def test_nothing_of_all_pairs_is_kept(rule, said, cap, dtype, monkeypatch):
    """Twice the length keeps twice as much, and no more than queries, keys for each head, values and the output, with a little beside."""
    small(monkeypatch, 1 << 15, 1 << 14)
    monkeypatch.setattr(D, "KEPT_UP_TO", 0)
    (short, *_), (long, after, most) = (held(n, dtype, rule, said, cap) for n in (512, 1024))
    one = H * 1024 * K * dtype.itemsize
    assert 0 < long <= 2.1 * short
    assert long < 7 * one
    assert after < 7 * one
    if not cap and rule is WINDOW and said.get("causal", True):
        assert most < 1024 * 1024 * dtype.itemsize  # also while it is computed: less than the scores of one head


@pytest.mark.parametrize("said", [{}, {"documents": True}], ids=lambda s: "+".join(s) or "causal")
def test_selective_checkpointing_keeps_none_either(said, monkeypatch):
    """It keeps products that are returned: those of scores are not."""
    small(monkeypatch, 1 << 15, 1 << 14)
    monkeypatch.setattr(D, "KEPT_UP_TO", 0)
    one = H * 1024 * K * 4
    for how in (True, "selective"):
        assert held(1024, torch.float32, FULL, said, False, how)[1] < 4 * one


@pytest.mark.parametrize("by_sample", [True, False], ids=["by sample", "by generator"])
@pytest.mark.parametrize("texts", [1, 3])
@pytest.mark.parametrize("said", SAID[:3], ids=lambda s: "+".join(s) or "causal")
@pytest.mark.parametrize("rule", [FULL, WINDOW], ids=["full", "window"])
def test_plans_tell_what_a_run_holds(rule, said, texts, by_sample, monkeypatch):
    """Two pieces of tensors without numbers hold what all pieces of real ones do: what is kept to the byte, and the most within a twentieth, since pieces of
    other blocks may be fuller. Tables of places, which all layers share, aside."""
    length = 700
    small(monkeypatch, 3 * 128 * length, 1 << 15)
    monkeypatch.setattr(D, "KEPT_UP_TO", 0)

    def bytes_of(mode):
        with mode:
            q, k, v = (torch.zeros(texts, h, length, K, requires_grad=True) for h in (H, G, G))
            i = info(**said, length=length, texts=texts)
            samples = torch.zeros(texts, dtype=torch.long)
            with drawn_for(SEED, samples if by_sample else None), Live((q, k, v, samples)) as live:
                out = A.attend(q, k, v, MaskSpec(i, i, i.causal, rule), dropout=DROP)
                after = live.now
                grads = torch.autograd.grad(out, (q, k, v), torch.ones_like(out))
                assert sum(x.numel() for x in grads) == sum(x.numel() for x in (q, k, v))
                return after, live.peak

    (kept_there, most_there), (kept_here, most_here) = bytes_of(FakeTensorMode()), bytes_of(nullcontext())
    assert kept_there == kept_here
    assert most_there == pytest.approx(most_here, rel=0.05)
