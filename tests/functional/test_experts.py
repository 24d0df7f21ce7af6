"""Three ways to apply experts give what the sum choice by choice gives; losses and load as their formulas say."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from components.core.weights import Experts
from components.functional.experts import ExpertBias, Mixture, apply_experts, even_loads, experts_reference, fastest
from components.functional.routing import Routing, balance_loss, check_groups, token_choice, within_groups, z_loss

N, D, F_, E = 9, 8, 16, 4


def formula(x, multiply):
    return multiply("out", torch.nn.functional.silu(multiply("gate", x)) * multiply("up", x))


def setting(dtype=torch.float64, biased=True):
    torch.manual_seed(0)
    sizes = {"gate": (D, F_), "up": (D, F_), "out": (F_, D)}
    maps = {n: Experts(E, *s) for n, s in sizes.items()}
    biases = {n: ExpertBias(E, s[1], "d_ff") for n, s in sizes.items()} if biased else {}
    for p in nn.ModuleList([*maps.values(), *biases.values()]).to(dtype).parameters():
        nn.init.normal_(p, 0.0, 0.5)
    return torch.randn(N, D, dtype=dtype, requires_grad=True), maps, biases


def chosen(kind, dtype=torch.float64):
    scores = torch.rand(N, E, generator=torch.Generator().manual_seed(1), dtype=dtype).requires_grad_()
    if kind == "experts choose":
        tokens = scores.t().topk(3, -1).indices
        return scores, Routing(
            tokens.flatten(), torch.arange(E).repeat_interleave(3), scores.t().gather(-1, tokens).flatten(), E
        )
    masked = scores.detach().clone()
    if kind == "one expert has nobody":
        masked[:, 2] = -1
    indices = masked.topk(2, -1).indices
    valid = torch.arange(N) % 3 != 1 if kind == "padding" else None
    return scores, token_choice(indices, scores.gather(-1, indices), E, valid)


KINDS = ("tokens choose", "experts choose", "padding", "one expert has nobody")


@pytest.mark.parametrize("way", ["loop", "dense"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weigh", ["output", "input"])
@pytest.mark.parametrize("biased", [False, True])
def test_ways_equal_the_sum_choice_by_choice_in_values_and_gradients(way, kind, weigh, biased):
    x, maps, biases = setting(biased=biased)
    scores, routing = chosen(kind)
    out = apply_experts(x, routing, Mixture(maps, biases, formula), weigh=weigh, way=way)
    want = experts_reference(x, routing, Mixture(maps, biases, formula), weigh=weigh)
    torch.testing.assert_close(out, want)
    leaves = [x, scores, *(m.weight for m in maps.values()), *(b.bias for b in biases.values())]
    g = torch.randn_like(out)
    for a, b in zip(
        torch.autograd.grad(out, leaves, g, retain_graph=True),
        torch.autograd.grad(want, leaves, g, allow_unused=True),
        strict=True,
    ):
        torch.testing.assert_close(a, torch.zeros_like(a) if b is None else b)


@pytest.mark.parametrize(
    ("way", "kind"), [*((w, k) for w in ("loop", "dense") for k in (*KINDS, "nobody")), ("even", "experts choose")]
)
def test_stretches_of_the_experts_add_up_to_all(way, kind):
    """Expert parallelism: who has a stretch gives its share of the sum, and a gradient for each matrix even if nobody chose it."""
    x, maps, biases = setting()
    scores, routing = chosen(kind)
    if kind == "nobody":  # in the second stretch
        routing = Routing(routing.tokens, routing.experts % 2, routing.weights, E)
    out = torch.zeros_like(x)
    held = []
    for first in (0, E // 2):
        own = {n: Experts(E // 2, *m.weight.shape[1:]) for n, m in maps.items()}
        shifts = {n: ExpertBias(E // 2, b.bias.shape[1], "d_ff") for n, b in biases.items()}
        for mine, whole in ((own, maps), (shifts, biases)):
            for n, m in mine.items():
                p = next(m.parameters())
                p.data = next(whole[n].parameters()).detach()[first : first + E // 2].clone()
                held.append(p)
        out = out + apply_experts(x, routing, Mixture(own, shifts, formula), way=way, first=first)
    want = experts_reference(x, routing, Mixture(maps, biases, formula))
    torch.testing.assert_close(out, want)
    g = torch.randn_like(out)
    grads = torch.autograd.grad(out, [x, scores, *held], g, retain_graph=True)
    wholes = [next(m.parameters()) for m in (*maps.values(), *biases.values())]
    wanted = torch.autograd.grad(want, [x, scores, *wholes], g, materialize_grads=True)
    for a, b in zip(grads[:2], wanted[:2], strict=True):
        torch.testing.assert_close(a, b)
    half = len(held) // 2
    for a, b, c in zip(grads[2 : 2 + half], grads[2 + half :], wanted[2:], strict=True):
        torch.testing.assert_close(torch.cat((a, b)), c)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weigh", ["output", "input"])
def test_the_grouped_kernel_equals_the_others(kind, weigh):
    x, maps, biases = setting(torch.bfloat16)
    scores, routing = chosen(kind, torch.float32)
    leaves = [x, scores, *(m.weight for m in maps.values()), *(b.bias for b in biases.values())]
    results = []
    for way in ("grouped", "loop"):
        out = apply_experts(x, routing, Mixture(maps, biases, formula), weigh=weigh, way=way)
        assert out.dtype == torch.bfloat16
        results.append((out, *torch.autograd.grad(out.float().square().sum(), leaves, retain_graph=True)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a.float(), b.float(), rtol=0.05, atol=0.05 * b.abs().max().item())


def test_tokens_without_an_expert_get_zeros_and_no_token_at_all_is_fine():
    x, maps, biases = setting()
    _, routing = chosen("padding")
    out = apply_experts(x, routing, Mixture(maps, biases, formula))
    assert (out[torch.arange(N) % 3 == 1] == 0).all()
    assert (out[torch.arange(N) % 3 != 1] != 0).all()
    nobody = token_choice(torch.zeros(N, 1, dtype=torch.long), torch.ones(N, 1), E, torch.zeros(N, dtype=torch.bool))
    for way in ("loop", "dense"):
        assert (apply_experts(x, nobody, Mixture(maps, biases, formula), way=way) == 0).all()


def test_which_way_is_taken():
    _, maps, _ = setting(torch.float32)
    assert fastest(torch.zeros(2, D), maps) == "loop"
    assert fastest(torch.zeros(2, D, dtype=torch.bfloat16), maps) == "loop"
    assert fastest(torch.zeros(2, D, device="meta"), maps) == "dense"
    with FakeTensorMode():
        assert fastest(torch.zeros(2, D), maps) == "dense"
        accelerator = torch.empty(2, D, dtype=torch.bfloat16, device="cuda")
        assert fastest(accelerator, maps) == "grouped"
        assert fastest(accelerator, {"up": Experts(2, 8, 12)}) == "dense", "rows of 24 bytes are not aligned"


@pytest.mark.parametrize("weigh", ["output", "input"])
def test_even_piles_are_right_where_loads_are_even(weigh):
    x, maps, biases = setting()
    _, routing = chosen("experts choose")  # three tokens each
    want = experts_reference(x, routing, Mixture(maps, biases, formula), weigh=weigh)
    with even_loads():
        torch.testing.assert_close(apply_experts(x, routing, Mixture(maps, biases, formula), weigh=weigh), want)
    assert fastest(x, maps) == "loop"


def test_even_piles_have_the_sizes_of_the_loop_on_shapes_alone():
    """As many products as choices; piles that do not come out are filled up with rows of zeros."""
    x, maps, biases = setting()
    _, routing = chosen("tokens choose")  # 18 choices of 4 experts: piles of 5
    with FlopCounterMode(display=False) as counter, torch.no_grad(), even_loads():
        apply_experts(x, routing, Mixture(maps, biases, formula))
    assert counter.get_total_flops() == 2 * 3 * D * F_ * 5 * E
    with FakeTensorMode(allow_non_fake_inputs=True), even_loads():
        assert apply_experts(x, routing, Mixture(maps, biases, formula)).shape == (N, D)


def test_the_loop_multiplies_chosen_tokens_alone():
    x, maps, biases = setting()
    _, routing = chosen("padding")
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        apply_experts(x, routing, Mixture(maps, biases, formula))
    assert counter.get_total_flops() == 2 * 3 * D * F_ * int(routing.kept.sum())


def test_load_and_balance_loss():
    probabilities = torch.rand(12, E, requires_grad=True).softmax(-1)
    indices = torch.randint(0, E, (12, 2))
    valid = torch.arange(12) % 5 != 0
    routing = token_choice(indices, torch.ones(12, 2), E, valid, probabilities=probabilities)
    assert routing.load().tolist() == [int((indices[valid] == e).sum()) for e in range(E)]
    total, weight = balance_loss(routing, valid, 1)
    share = torch.tensor([(indices[valid] == e).double().mean() for e in range(E)])
    want = E * (share * probabilities[valid].double().mean(0)).sum()
    torch.testing.assert_close((total / weight).double(), want)
    assert weight == valid.sum()
    # by sequence: the mean of each sequence's, weighted by its tokens
    by_row, weights = balance_loss(routing, valid, 3), []
    for r in range(3):
        v = valid[4 * r : 4 * r + 4]
        one = token_choice(indices[4 * r : 4 * r + 4], torch.ones(4, 2), E, v, probabilities=probabilities[4 * r : 4 * r + 4])
        weights.append(balance_loss(one, v, 1))
    torch.testing.assert_close(by_row[0], sum(w[0] for w in weights))
    assert by_row[1] == sum(w[1] for w in weights) == valid.sum()


def test_balance_is_1_when_even_and_e_when_one_expert_has_all():
    even = token_choice(
        torch.arange(E).repeat(3)[:, None], torch.ones(12, 1), E, None, probabilities=torch.full((12, E), 1 / E)
    )
    one = token_choice(
        torch.zeros(12, 1, dtype=torch.long), torch.ones(12, 1), E, None, probabilities=torch.eye(E)[0].expand(12, E)
    )
    for routing, want in ((even, 1.0), (one, float(E))):
        total, weight = balance_loss(routing, None, 1)
        assert total / weight == want


def test_z_loss_counts_valid_tokens():
    logits, valid = torch.randn(6, E), torch.tensor([1, 1, 0, 1, 0, 0]).bool()
    routing = token_choice(torch.zeros(6, 1, dtype=torch.long), torch.ones(6, 1), E, valid, logits=logits)
    total, weight = z_loss(routing, valid)
    torch.testing.assert_close(total / weight, logits[valid].exp().sum(-1).log().square().mean())
    torch.testing.assert_close(z_loss(routing, None)[0], logits.logsumexp(-1).square().sum())


def test_groups():
    scores = torch.tensor([[0.9, 0.0, 0.5, 0.5, 0.1, 0.2]])
    low = float("-inf")
    assert within_groups(scores, 3, 1, 1).tolist() == [[pytest.approx(0.9), 0.0, low, low, low, low]]
    assert within_groups(scores, 3, 1, 2).tolist() == [[low, low, 0.5, 0.5, low, low]]
    assert within_groups(scores, 3, 3, 2) is scores
    for arguments, said in (
        ((1, 6, 4, 1), "n_groups=4 does not divide n_experts=6"),
        ((1, 6, 3, 4), "top_groups=4 exceeds n_groups=3"),
        ((3, 6, 3, 1), "k=3 experts are asked of 2"),
    ):
        with pytest.raises(ValueError, match=said):
            check_groups(*arguments)
