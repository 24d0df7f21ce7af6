"""Disentangled attention pair by pair as the paper and the released models write it, its buckets, and which positions it takes."""

from __future__ import annotations

import math

import pytest
import torch

from components import build
from components.compose import compose
from components.core.errors import UserError
from components.core.sockets import Batch, SequenceInfo

T, H, K, D, SPAN, FAR = 7, 2, 3, 6, 4, 6


def made(norm="none", far=FAR, **options):
    position = {"name": "disentangled", "span": SPAN, "max_distance": far, "norm": norm}
    part = build("attention", "disentangled", d_model=D, n_heads=H, bias=["q", "k", "v", "out"], position=position, **options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in part.parameters():
            p.copy_(torch.empty(p.shape).normal_(0, 0.6, generator=generator))
    return part.double()


def row(distance: int, far: int | None) -> int:
    """Of the table, as the paper's appendix tells it, in Python's own numbers."""
    half = SPAN // 2
    if far is not None and abs(distance) > half:
        steps = math.ceil(math.log(abs(distance) / half) / math.log((far - 1) / half) * (half - 1) - 1e-9) + half
        distance = steps if distance > 0 else -steps
    return min(max(distance + SPAN, 0), 2 * SPAN - 1)


def by_hand(part, w, x, documents, causal, far):
    """One query, one key and one head after another."""
    shared, layer = part.share_key, lambda n, y: y @ w[f"{n}.weight"].t() + w[f"{n}.bias"]
    vectors = w["position.table.weight"]
    if "position.norm.weight" in w:
        centred = vectors - vectors.mean(-1, keepdim=True)
        vectors = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        vectors = vectors * w["position.norm.weight"] + w["position.norm.bias"]
    q, k, v = (layer(n, x) for n in "qkv")
    k_of = layer("k" if shared else "position_k", vectors) if "c2p" in part.terms else None
    q_of = layer("q" if shared else "position_q", vectors) if "p2c" in part.terms else None
    out = []
    for b in range(x.shape[0]):
        read = []
        for i in range(T):
            heads = []
            for h in range(H):
                at = slice(h * K, (h + 1) * K)
                seen = [j for j in range(T) if documents[b][i] == documents[b][j] and (j <= i or not causal)]
                scores = []
                for j in seen:
                    r, score = row(i - j, far), q[b, i, at] @ k[b, j, at]
                    if k_of is not None:
                        score = score + q[b, i, at] @ k_of[r, at]
                    if q_of is not None:
                        score = score + k[b, j, at] @ q_of[r, at]
                    scores.append(score / math.sqrt((1 + len(part.terms)) * K))
                heads.append((torch.stack(scores).softmax(0)[:, None] * v[b, seen, at]).sum(0))
            read.append(torch.cat(heads))
        out.append(torch.stack(read))
    return layer("out", torch.stack(out))


@pytest.mark.parametrize(
    ("options", "causal"),
    [
        ({"norm": "layer"}, False),
        ({"share_key": False}, True),
        ({"far": None, "terms": ["c2p"]}, False),
        ({"terms": ["p2c"], "share_key": False, "norm": "layer"}, False),
    ],
)
def test_formula_and_gradients(options, causal):
    part, generator = made(**options), torch.Generator().manual_seed(1)
    x = torch.randn(2, T, D, generator=generator, dtype=torch.float64)
    documents = torch.tensor([[0] * 3 + [1] * 4, [0] * 7])
    own = {n: p.detach().clone().requires_grad_() for n, p in part.named_parameters()}
    info = SequenceInfo.of(Batch(torch.zeros(2, T, dtype=torch.long), documents=documents), causal=causal)
    found, expected = part(x, info), by_hand(part, own, x, documents.tolist(), causal, options.get("far", FAR))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    weights = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for name, parameter in part.named_parameters():
        torch.testing.assert_close(parameter.grad, own[name].grad, rtol=1e-8, atol=1e-10, msg=name)


@pytest.mark.parametrize(("span", "far"), [(256, 512), (8, 64), (4, 20), (32, 40), (2, 9)])
def test_buckets_are_those_of_transformers(span, far):
    theirs = pytest.importorskip("transformers.models.deberta_v2.modeling_deberta_v2")
    part = build("position", "disentangled", d_model=D, span=span, max_distance=far)
    distance = torch.arange(-2000, 2001)
    assert torch.equal(part.bucket(distance), theirs.make_log_bucket_position(distance, span, far).long())


def test_the_vectors_are_one_table_for_the_stack_whatever_the_pattern():
    model = build(
        "model", "encoder", vocab_size=9, d_model=D, n_layers=3, context_length=8, pattern=["a", "b"],
        position={"name": "disentangled", "span": SPAN, "max_distance": FAR}, attention={"name": "disentangled", "n_heads": H},
    )  # fmt: skip
    assert [n for n, _ in model.named_parameters() if "table" in n] == [
        "embedding.table.weight",
        "stack.positions.0.table.weight",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"position": "none"}, "has no vectors of distances"),
        ({"terms": []}, "choose c2p, p2c or both"),
        ({"terms": ["c2c"]}, "choose c2p, p2c or both"),
        ({"position": {"name": "disentangled", "span": 8, "max_distance": 5}}, "beyond half of span=8"),
        ({"position": {"name": "disentangled", "span": 1}}, "at least 2"),
    ],
)
def test_what_it_cannot_be(options, said):
    with pytest.raises(UserError, match=said):
        build("attention", "disentangled", **{"d_model": D, "n_heads": H, "position": "disentangled", **options})


def test_each_is_refused_without_the_other():
    with pytest.raises(UserError, match="needs distance_vectors of its position"):
        compose("bert_prose", ["model/attention=disentangled"])
    with pytest.raises(UserError, match="needs distance_terms of its attention"):
        compose("bert_prose", ["model/position=disentangled"])
    compose("bert_prose", ["model/attention=disentangled", "model/position=disentangled"])
