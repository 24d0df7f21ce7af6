"""Every sampler against its formula written naively, row by row."""

from __future__ import annotations

import math

import pytest
import torch

from components import build
from components.core.errors import UserError
from components.core.index import own_entries
from components.core.makers import make_all

INF = float("inf")
LOGITS = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)) * 3
IDS = torch.randint(0, 40, (5, 9), generator=torch.Generator().manual_seed(1))
IDS[0] = torch.tensor([4, 5, 6, 5, 6, 7, 4, 5, 6])  # n-grams of one, two and three that occur again
IDS[1] = 8


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


def typical(logits, p):
    sets = []
    for row in logits.double():
        log_p = row.log_softmax(-1)
        entropy = -sum(x.exp() * x for x in log_p if x > -INF)
        surprise = [abs(-x - entropy).item() for x in log_p]
        chosen, total = set(), 0.0
        for i in sorted(range(len(row)), key=lambda i: surprise[i]):
            chosen.add(i)
            total += log_p[i].exp().item()
            if total >= p:
                break
        sets.append(chosen)
    return kept(logits, sets)


def completes(text, n):
    """Tokens that would complete an n-gram which ``text`` has, by reading it from its start."""
    end = text[len(text) - n + 1 :]
    return {text[i + n - 1] for i in range(len(text) - n + 1) if text[i : i + n - 1] == end}


def no_repeat(logits, n, penalty):
    out = logits.clone()
    for row, ids in zip(out, IDS.tolist()):
        for i in completes(ids, n):
            row[i] = -INF if penalty is None else row[i] - penalty
    return out


def counted(logits, last, each, once):
    out = logits.clone()
    for row, ids in zip(out, IDS.tolist()):
        for i in range(40):
            n = ids[-last:].count(i) if last else ids.count(i)
            row[i] -= each * n + once * (n > 0)
    return out


CASES = [
    *[("typical", {"p": p}, lambda x, p=p: typical(x, p)) for p in (0.0, 0.2, 0.95)],
    *[
        ("no_repeat_ngram", {"n": n, "penalty": a}, lambda x, n=n, a=a: no_repeat(x, n, a))
        for n in (1, 2, 3, 9, 10)
        for a in (None, 1.5)
    ],
    ("allowed_tokens", {"ids": (3, 1, 39)}, lambda x: kept(x, [{1, 3, 39}] * 5)),
    ("suppress_tokens", {"ids": (3, 1, 39)}, lambda x: kept(x, [set(range(x.shape[1])) - {1, 3, 39}] * 5)),
    ("suppress_tokens", {"ids": (2, 4000)}, lambda x: kept(x, [set(range(x.shape[1])) - {2}] * 5)),  # 4000 has no logit
    *[("frequency", {"penalty": a, "last": n}, lambda x, a=a, n=n: counted(x, n, a, 0)) for a in (0.7, -0.5) for n in (0, 3)],
    *[("presence", {"penalty": a, "last": n}, lambda x, a=a, n=n: counted(x, n, 0, a)) for a in (0.7, -0.5) for n in (0, 3)],
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
    torch.testing.assert_close(build("sampler", name, **options)(LOGITS, IDS, None), naive(LOGITS))
    assert torch.equal(LOGITS, before)


def test_every_sampler_has_a_case():
    assert {c[0] for c in CASES} == {e.name for e in own_entries().values() if e.kind == "sampler"}


def test_the_cases_of_n_grams_ban_something():
    assert [sorted(completes(IDS[0].tolist(), n)) for n in (1, 2, 3)] == [[4, 5, 6, 7], [5, 7], [5, 7]]
    assert completes(IDS[1].tolist(), 9) == {8}


def test_where_every_token_would_be_forbidden_the_row_stays():
    x = torch.tensor([[0.5, 0.1], [0.2, 0.3]])
    out = build("sampler", "no_repeat_ngram", n=1)(x, torch.tensor([[0, 1, 1], [1, 1, 1]]), None)
    assert torch.equal(out[0], x[0])
    assert out[1].tolist() == [pytest.approx(0.2), -INF]


@pytest.mark.parametrize(("ids", "says"), [((), "give the numbers"), ((-1, 2), "from 0")])
def test_allowed_tokens_wants_ids(ids, says):
    with pytest.raises(UserError, match=says):
        build("sampler", "allowed_tokens", ids=ids)


def test_allowed_tokens_beyond_the_vocabulary():
    with pytest.raises(ValueError, match="40 tokens"):
        build("sampler", "allowed_tokens", ids=(40,))(LOGITS, IDS, None)


def test_typical_keeps_what_is_near_the_entropy_and_not_the_likeliest():
    """A likely token tells less than is expected: with little mass asked for, the middle stays."""
    x = torch.tensor([[0.4, *[0.1] * 6]]).log()
    assert build("sampler", "typical", p=0.15)(x, IDS[:1], None).isfinite()[0].tolist() == [False, True, True, *[False] * 4]


def test_order_matters():
    def run(*nodes):
        x = LOGITS
        for s in make_all(nodes, "sampler"):
            x = s(x, IDS, None)
        return x

    hot, nucleus = {"name": "temperature", "value": 3.0}, {"name": "top_p", "p": 0.8}
    first, last = run(hot, nucleus), run(nucleus, hot)
    assert first.isfinite().sum() > last.isfinite().sum()
    torch.testing.assert_close(first, top_p(LOGITS / 3, 0.8))
    torch.testing.assert_close(last, top_p(LOGITS, 0.8) / 3)


def test_one_token_always_stays_even_after_others_were_dropped():
    x = build("sampler", "top_k", k=1)(LOGITS, IDS, None)
    for name, options in (("top_p", {"p": 0.0}), ("min_p", {"p": 1.0}), ("top_p", {"p": 0.9})):
        x = build("sampler", name, **options)(x, IDS, None)
        assert x.isfinite().sum(-1).tolist() == [1] * 5


def test_equal_logits_at_the_edge_of_top_k_stay():
    x = torch.tensor([[1.0, 2.0, 2.0, 0.0]])
    assert build("sampler", "top_k", k=1)(x, IDS[:1], None).tolist() == [[-INF, 2.0, 2.0, -INF]]


def test_temperature_zero_is_refused_with_the_remedy():
    with pytest.raises(UserError, match="use decoding=greedy"):
        build("sampler", "temperature", value=0.0)


def test_min_p_needs_no_softmax_to_be_right_at_large_logits():
    x = torch.tensor([[1000.0, 1000.0 + math.log(0.2), 0.0]])
    assert build("sampler", "min_p", p=0.1)(x, IDS[:1], None).isfinite().tolist() == [[True, True, False]]
