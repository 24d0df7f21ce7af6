"""Every sampler against its formula written naively, row by row."""

from __future__ import annotations

import math

import pytest
import torch

from components import build, registry
from components.errors import UserError
from components.makers import make_all

INF = float("inf")
LOGITS = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)) * 3
IDS = torch.randint(0, 40, (5, 9), generator=torch.Generator().manual_seed(1))


def kept(logits, keep):
    return torch.stack(
        [torch.tensor([x if i in s else -INF for i, x in enumerate(row.tolist())]) for row, s in zip(logits, keep)]
    )


def ranked(row):
    return sorted(range(len(row)), key=lambda i: -row[i])


def top_k(logits, k):
    return kept(logits, [set(ranked(row.tolist())[:k]) for row in logits])


def top_p(logits, p):
    sets = []
    for row in logits.double().softmax(-1).tolist():
        chosen, total = set(), 0.0
        for i in ranked(row):
            chosen.add(i)
            total += row[i]
            if total >= p:
                break
        sets.append(chosen)
    return kept(logits, sets)


def min_p(logits, p):
    return kept(logits, [{i for i, x in enumerate(row) if x >= p * max(row)} for row in logits.double().softmax(-1).tolist()])


def repetition(logits, penalty, last):
    out = logits.clone()
    for row, ids in zip(out, IDS):
        for i in set(ids[-last:].tolist() if last else ids.tolist()):
            row[i] = row[i] / penalty if row[i] > 0 else row[i] * penalty
    return out


CASES = [
    ("temperature", {"value": 0.7}, lambda x: x / 0.7),
    ("temperature", {"value": 1.0}, lambda x: x),
    *[("top_k", {"k": k}, lambda x, k=k: top_k(x, k)) for k in (1, 7, 40, 99)],
    *[("top_p", {"p": p}, lambda x, p=p: top_p(x, p)) for p in (0.0, 0.3, 0.9, 1.0)],
    *[("min_p", {"p": p}, lambda x, p=p: min_p(x, p)) for p in (0.0, 0.1, 1.0)],
    *[("repetition", {"penalty": a, "last": n}, lambda x, a=a, n=n: repetition(x, a, n)) for a in (1.3, 0.5) for n in (0, 3)],
]


@pytest.mark.parametrize(("name", "options", "naive"), CASES)
def test_equals_the_formula(name, options, naive):
    before = LOGITS.clone()
    torch.testing.assert_close(build("sampler", name, **options)(LOGITS, IDS), naive(LOGITS))
    assert torch.equal(LOGITS, before)


def test_every_sampler_has_a_case():
    assert {c[0] for c in CASES} >= {"temperature", "top_k", "top_p", "min_p", "repetition"}
    assert {c[0] for c in CASES} <= set(registry.names("sampler"))


def test_order_matters():
    def run(*nodes):
        x = LOGITS
        for s in make_all(nodes, "sampler"):
            x = s(x, IDS)
        return x

    hot, nucleus = {"name": "temperature", "value": 3.0}, {"name": "top_p", "p": 0.8}
    first, last = run(hot, nucleus), run(nucleus, hot)
    assert first.isfinite().sum() > last.isfinite().sum()
    torch.testing.assert_close(first, top_p(LOGITS / 3, 0.8))
    torch.testing.assert_close(last, top_p(LOGITS, 0.8) / 3)


def test_one_token_always_stays_even_after_others_were_dropped():
    x = build("sampler", "top_k", k=1)(LOGITS, IDS)
    for name, options in (("top_p", {"p": 0.0}), ("min_p", {"p": 1.0}), ("top_p", {"p": 0.9})):
        x = build("sampler", name, **options)(x, IDS)
        assert x.isfinite().sum(-1).tolist() == [1] * 5


def test_equal_logits_at_the_edge_of_top_k_stay():
    x = torch.tensor([[1.0, 2.0, 2.0, 0.0]])
    assert build("sampler", "top_k", k=1)(x, IDS[:1]).tolist() == [[-INF, 2.0, 2.0, -INF]]


def test_temperature_zero_is_refused_with_the_remedy():
    with pytest.raises(UserError, match="use decoding=greedy"):
        build("sampler", "temperature", value=0.0)


def test_min_p_needs_no_softmax_to_be_right_at_large_logits():
    x = torch.tensor([[1000.0, 1000.0 + math.log(0.2), 0.0]])
    assert build("sampler", "min_p", p=0.1)(x, IDS[:1]).isfinite().tolist() == [[True, True, False]]
