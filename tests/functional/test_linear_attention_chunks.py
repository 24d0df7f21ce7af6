"""Linear recurrences: the sequential reference against the formula written as one sum, and the chunked forms against the reference."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from components.functional.delta_rule import delta_rule, delta_rule_flops, delta_rule_reference
from components.functional.linear_attention import linear_attention, linear_attention_flops, linear_attention_reference

B, K, V = 2, 6, 5
RULES = {"linear": (linear_attention_reference, linear_attention), "delta": (delta_rule_reference, delta_rule)}


def inputs(rule, decay, length, groups, heads, seed=0, dtype=torch.float64):
    """(q, k, v, [beta], [g]) as leaves, and the initial state."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.empty(shape, dtype=dtype).normal_(generator=generator)

    q, k, v = draw(B, groups, length, K), draw(B, groups, length, K), draw(B, heads, length, V)
    found = [q, F.normalize(k, dim=-1) if rule == "delta" else k, v]
    if rule == "delta":
        found.append(draw(B, heads, length).sigmoid())
    if decay != "none":
        found.append(-F.softplus(2 * draw(B, heads, length, *([K] if decay == "channel" else []))))
    state = draw(B, heads, K, V)
    return [y.requires_grad_() for y in found], state.requires_grad_()


def borders(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    valid = torch.rand(B, length, generator=generator) < 0.8
    return valid & (torch.rand(B, length, generator=generator) < 0.1), valid


def outcome(function, leaves, state, **options):
    """Output, last state, and the gradients of something that depends on all of both."""
    out, last = function(*leaves, state=state, **options)
    weights = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    grads = torch.autograd.grad((out * weights).sum() + last.sin().sum(), [*leaves, state])
    return out, last, *grads


CASES = [("linear", d, g, h) for d, g, h in (("none", 2, 2), ("head", 2, 2), ("head", 1, 3), ("channel", 2, 2))]
CASES += [("delta", d, g, h) for d, g, h in (("none", 2, 2), ("head", 2, 2), ("head", 1, 3), ("channel", 2, 2))]


@pytest.mark.parametrize("marked", [False, True], ids=["plain", "documents-and-padding"])
@pytest.mark.parametrize(("rule", "decay", "groups", "heads"), CASES, ids=lambda v: str(v))
def test_chunks_equal_the_reference_in_value_and_gradient(rule, decay, groups, heads, marked):
    reference, chunked = RULES[rule]
    for length, chunk in ((1, 64), (5, 4), (16, 16), (37, 8), (75, 64)):
        leaves, state = inputs(rule, decay, length, groups, heads)
        start, valid = borders(length) if marked else (None, None)
        wanted = outcome(reference, leaves, state, start=start, valid=valid)
        found = outcome(chunked, leaves, state, start=start, valid=valid, chunk=chunk)
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("decay", ["none", "head", "channel"])
def test_the_reference_is_the_sum_over_the_past(decay):
    """o_i = sum over j <= i of (q_i . decays from j to i . k_j) v_j."""
    (q, k, v, *g), _ = inputs("linear", decay, 9, 2, 2)
    wanted = torch.zeros(B, 2, 9, V, dtype=torch.float64)
    for i in range(9):
        for j in range(i + 1):
            along = g[0][:, :, j + 1 : i + 1].sum(2).exp() if g else torch.ones(B, 2, dtype=torch.float64)
            along = along if along.dim() == 3 else along[..., None]
            wanted[:, :, i] += (q[:, :, i] * along * k[:, :, j]).sum(-1, keepdim=True) * v[:, :, j]
    torch.testing.assert_close(linear_attention_reference(q, k, v, *g)[0], wanted)


def test_the_delta_rule_replaces_what_a_key_stood_for():
    key = torch.eye(K, dtype=torch.float64)[None, None, :2]
    k = key[:, :, [0, 1, 0]]
    v = torch.arange(3.0, dtype=torch.float64)[None, None, :, None].expand(1, 1, 3, V) + 1
    out, state = delta_rule(k, k, v, torch.ones(1, 1, 3, dtype=torch.float64))
    torch.testing.assert_close(out, v)  # just written, read at once
    torch.testing.assert_close((key @ state)[0, 0, :, 0], torch.tensor([3.0, 2.0], dtype=torch.float64))
    _, added = linear_attention(k, k, v)
    torch.testing.assert_close((key @ added)[0, 0, :, 0], torch.tensor([4.0, 2.0], dtype=torch.float64))


@pytest.mark.parametrize(("rule", "decay"), [("linear", "head"), ("linear", "channel"), ("delta", "channel")])
@pytest.mark.parametrize("strength", [1e-4, 1.0, 30.0, 3000.0])
def test_no_decay_overflows(rule, decay, strength):
    """From 3000 per position on, fp32's exp of the inverse would be infinite after one step; values and gradients stay exact to 5e-4 of the greatest."""
    reference, chunked = RULES[rule]
    leaves, state = inputs(rule, decay, 130, 2, 2)
    leaves = [y.detach() for y in leaves[:-1]] + [leaves[-1].detach() * strength]
    single = [y.float().requires_grad_() for y in leaves]
    double = [y.requires_grad_() for y in leaves]
    found = outcome(chunked, single, state.detach().float().requires_grad_())
    wanted = outcome(reference, double, state)
    for a, b in zip(found, wanted, strict=True):
        assert torch.isfinite(a).all()
        assert (a.double() - b).abs().max() <= 5e-4 * b.abs().max() + 1e-9


def test_equal_keys_keep_the_delta_rule_stable():
    """The product form of (1 + A)^-1 would need binomials of 64 here; forward substitution does not."""
    length = 256
    k = torch.ones(1, 1, length, K) / K**0.5
    v = torch.randn(1, 1, length, V, generator=torch.Generator().manual_seed(0))
    out, _ = delta_rule(k, k, v, torch.full((1, 1, length), 0.9))
    wanted, _ = delta_rule_reference(*(y.double() for y in (k, k, v)), torch.full((1, 1, length), 0.9).double())
    torch.testing.assert_close(out.double(), wanted, rtol=1e-4, atol=1e-5)


def test_channels_that_decay_alike_are_heads_that_decay():
    """The per-channel form with one decay for all channels of a head is Gated DeltaNet's rule."""
    leaves, state = inputs("delta", "head", 75, 2, 2)
    *rest, g = (y.detach() for y in leaves)
    wanted = delta_rule(*rest, g, state=state.detach())
    found = delta_rule(*rest, g[..., None].expand(-1, -1, -1, K), state=state.detach())
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("rule", "decay", "groups", "heads"), CASES, ids=lambda v: str(v))
def test_a_sequence_in_pieces_equals_the_whole(rule, decay, groups, heads):
    _, chunked = RULES[rule]
    leaves, state = inputs(rule, decay, 90, groups, heads)
    whole, last = chunked(*leaves, state=state)
    pieces = []
    for cut in (slice(0, 70), slice(70, 71), slice(71, 90)):
        out, state = chunked(*(y[:, :, cut] for y in leaves), state=state)
        pieces.append(out)
    torch.testing.assert_close(torch.cat(pieces, 2), whole)
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_single(dtype):
    for rule, decay in (("linear", "head"), ("linear", "channel"), ("delta", "head"), ("delta", "channel")):
        leaves, _ = inputs(rule, decay, 80, 2, 2)
        halves = [y.detach().to(dtype) for y in leaves]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out, state = RULES[rule][1](*halves)
        wanted, _ = RULES[rule][0](*(y.double() for y in halves))
        assert out.dtype == state.dtype == torch.float32
        torch.testing.assert_close(out.double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rule", "decay", "groups", "heads"), CASES, ids=lambda v: str(v))
@pytest.mark.parametrize("length", [1, 3, 12, 64, 150])
def test_flops(rule, decay, groups, heads, length):
    leaves, _ = inputs(rule, decay, length, groups, heads)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        RULES[rule][1](*(y[:1] for y in leaves))
    if rule == "delta":
        found = delta_rule_flops(length, groups, heads, K, V, channels=decay == "channel")
        assert found.algorithm == 6 * length * heads * K * V
    else:
        found = linear_attention_flops(length, groups, heads, K, V, channels=decay == "channel")
        assert found.algorithm == 4 * length * heads * K * V
    assert found.executed == counter.get_total_flops()
    assert found.executed >= found.algorithm
