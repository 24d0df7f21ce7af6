"""Embeddings: their formulas, what stands before a token, and what later parts read of them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hosts import decoder, ids, scramble
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from components import build
from components.core.errors import UserError
from components.core.flops import Work, flops_of
from components.core.sockets import Batch, SequenceInfo
from components.core.weights import roles
from components.functional.hashing import mixed

V, D = 13, 8
NAMES = ("token", "factorised", "ngram_hash", "token_shift", "value_embeddings", "token_types")
every = pytest.mark.parametrize("name", NAMES)


def made(name, **options):
    part = build("embedding", name, vocab_size=V, d_model=D, **options).double()
    with torch.no_grad():
        for p in part.parameters():
            p.normal_(generator=torch.Generator().manual_seed(p.numel()))
    return part


def tokens(rows=2, length=9):
    return torch.randint(0, V, (rows, length), generator=torch.Generator().manual_seed(0))


@every
def test_shapes_options_and_flops(name):
    part, doubled = made(name, dropout=0.25), made(name, scale=2.0)
    x, info = tokens(), SequenceInfo()
    assert part(x, info).shape == (2, 9, D)
    assert part.dropout == 0.25
    root = made(name, scale="sqrt")
    if name != "token_types":  # BERT's types are added as they are
        torch.testing.assert_close(doubled(x, info), 2 * part(x, info))
        torch.testing.assert_close(root(x, info), 8**0.5 * part(x, info))
    gate_and_up = {"factorised": 2 * 2 * D * 9, "token_shift": 2 * D * 9}
    assert flops_of(part, Work(9)) == (gate_and_up.get(name, 0),) * 2


@every
def test_roles(name):
    found = {w.name: w.role for w in roles(made(name))}
    tables = {n for n, role in found.items() if role == "embedding"}
    assert (
        tables
        == {
            "token": {"table.weight"},
            "factorised": {"tokens.weight"},
            "ngram_hash": {"table.weight", "grams.weight"},
            "token_shift": {"table.weight"},
            "value_embeddings": {"table.weight", "values.weight"},
            "token_types": {"table.weight", "types.weight"},
        }[name]
    )


@pytest.mark.parametrize("name", [n for n in NAMES if n != "factorised"])
def test_a_tied_head_uses_the_table(name):
    reader = {"attention": {"name": "gqa", "n_heads": 4, "value": "embedding"}} if name == "value_embeddings" else {}
    model = scramble(decoder(embedding=name, head="tied", **reader))
    assert model.head.embedding.table.weight is model.embedding.table.weight
    assert model(ids()).shape == (2, 12, 40)


def test_a_factorised_table_is_too_narrow_to_be_tied():
    from components.compose import compose

    with pytest.raises(UserError, match="needs table of its embedding"):
        compose("llama_tiny", ["model/embedding=factorised", "model/head=tied"])


def test_factorised():
    part, x = made("factorised", width=3, bias=True), tokens()
    torch.testing.assert_close(
        part(x, SequenceInfo()), F.one_hot(x, V).double() @ part.tokens.weight @ part.up.weight.t() + part.up.bias
    )
    assert (
        sum(p.numel() for p in build("embedding", "factorised", vocab_size=1000, d_model=64).parameters())
        == 1000 * 16 + 16 * 64
    )


def rows_of(part, row):
    """The rows of the n-gram table for each token of one sequence, by Python's own numbers."""

    def mix(key):
        for factor in (0x9E3779B1, 0x85EBCA77):
            key = (key & 0x7FFFFFFF) * factor
            key = (key >> 15) ^ (key & 0x7FFFFFFF)
        return key & 0x7FFFFFFF

    found = []
    for t, token in enumerate(row):
        key, mine = token + 1, []
        for n in range(part.longest - 1):
            before = row[t - n - 1] if t - n - 1 >= 0 else -1
            key = mix(key) + before + 1
            mine.append(mix(key) % part.buckets + n * part.buckets)
        found.append(mine)
    return torch.tensor(found)


def test_ngrams():
    part, x = made("ngram_hash", longest=4, buckets=50), tokens()
    want = [(part.table.weight[row] + part.grams.weight[rows_of(part, row.tolist())].sum(1)) / 4 for row in x]
    torch.testing.assert_close(part(x, SequenceInfo()), torch.stack(want))
    plain = made("ngram_hash", longest=4, buckets=50, average=False)
    torch.testing.assert_close(plain(x, SequenceInfo()), 4 * torch.stack(want))


def test_ngrams_tell_order_and_length_apart():
    part = made("ngram_hash", longest=3, buckets=1 << 20)
    a, b, c = (part(torch.tensor([row]), SequenceInfo())[0, -1] for row in ([1, 2, 3], [2, 1, 3], [1, 2, 3]))
    assert torch.equal(a, c)
    assert not torch.allclose(a, b)
    pairs = torch.cartesian_prod(torch.arange(300), torch.arange(300))
    rows = mixed(mixed(pairs[:, 1] + 1) + pairs[:, 0] + 1) % 1024
    load = torch.bincount(rows, minlength=1024).double()
    assert 0.8 < load.var() / load.mean() < 1.25, "as even as balls thrown at random"


def test_token_shift_adds_the_one_before():
    part, x = made("token_shift", channels=5), tokens()
    e = part.table.weight[x]
    want = e.clone()
    gates = torch.sigmoid((e[..., :5] * part.gate.weight[0]).sum(-1, keepdim=True))
    want[:, 1:] += part.factor * gates[:, 1:] * e[:, :-1]
    torch.testing.assert_close(part(x, SequenceInfo()), want)
    fresh = build("embedding", "token_shift", vocab_size=V, d_model=D)
    torch.testing.assert_close(fresh(x, SequenceInfo()), fresh.table(x))


@pytest.mark.parametrize("name", ["ngram_hash", "token_shift"])
def test_nothing_stands_before_a_document_and_padding_is_stepped_over(name):
    part, x = made(name), tokens(1, 9)
    documents = torch.tensor([[0] * 4 + [1] * 5])
    packed = part(x, SequenceInfo(documents=documents))
    alone = torch.cat((part(x[:, :4], SequenceInfo()), part(x[:, 4:], SequenceInfo())), 1)
    torch.testing.assert_close(packed, alone)
    valid = torch.tensor([[0, 1, 1, 0, 0, 1, 1, 0, 1]]).bool()
    padded = part(x, SequenceInfo(valid=valid))
    torch.testing.assert_close(padded[valid], part(x[valid][None], SequenceInfo())[0])


def test_value_embeddings_are_carried_to_the_layers():
    part, x, info = made("value_embeddings", scale=3.0), tokens(), SequenceInfo()
    torch.testing.assert_close(part(x, info), 3 * part.table.weight[x])
    torch.testing.assert_close(info.out["value_embeddings"], part.values.weight[x])
    attention = {"name": "gqa", "n_heads": 4, "n_kv_heads": 2, "value": "embedding"}
    model = scramble(decoder(embedding="value_embeddings", attention=attention))
    before = model(ids())
    with torch.no_grad():
        model.embedding.values.weight.mul_(2)
    assert not torch.allclose(before, model(ids()))


def test_vectors_for_each_layer_are_carried_to_its_ffn():
    part, x, info = made("per_layer_embeddings", n_layers=3, width=2, rows=10, scale=3.0), tokens(), SequenceInfo()
    stream = part(x, info)
    torch.testing.assert_close(stream, 3 * part.table.weight[x])
    own = part.vectors.weight[torch.where(x < 10, x, 0)].unflatten(-1, (3, 2)) * 2**0.5
    said = (stream @ part.project.weight.t() / 8**0.5).unflatten(-1, (3, 2))
    said = said / (said.square().mean(-1, keepdim=True) + 1e-6).sqrt() * part.norm.weight
    torch.testing.assert_close(info.out["layer_vectors"], (own + said) / 2**0.5)
    assert (x >= 10).any()
    assert made("per_layer_embeddings", n_layers=3, rows=99).vectors.num_embeddings == V
    assert flops_of(part, Work(9)) == (2 * 8 * 6 * 9,) * 2
    tables = {w.name for w in roles(part) if w.role == "embedding"}
    assert tables == {"table.weight", "vectors.weight"}

    model = scramble(decoder(embedding="per_layer_embeddings", ffn="per_layer_input", n_layers=2))
    assert model.embedding.vectors.weight.shape == (40, 2 * 4)
    before = model(ids())
    for layer in (0, 1):  # each layer has columns of its own
        with torch.no_grad():
            model.embedding.vectors.weight.unflatten(-1, (2, -1))[:, layer].mul_(2)
        after = model(ids())
        assert not torch.allclose(before, after)
        before = after


def test_both_sides_of_an_encoder_decoder_have_vectors_for_their_layers():
    sizes = {"vocab_size": 20, "d_model": 16, "context_length": 12, "attention": {"name": "gqa", "n_heads": 2}}
    model = scramble(
        build("model", "encoder_decoder", **sizes, n_layers=2, embedding="per_layer_embeddings", ffn="per_layer_input")
    ).double()
    ids_, source = torch.arange(8).view(1, 8), torch.arange(6).view(1, 6)
    before = model(Batch(ids_, source=Batch(source)))
    with torch.no_grad():
        model.embedding.vectors.weight[15:] += 1
        assert torch.equal(model(Batch(ids_, source=Batch(source))), before)
        assert not torch.equal(model(Batch(ids_, source=Batch(source + 14))), before)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(Batch(ids_, source=Batch(source)))
    assert flops_of(model, Work(8, memory=6)).executed == counter.get_total_flops()


def test_layers_that_have_no_vector_are_refused():
    sizes = {"d_model": 32, "vocab_size": 40, "context_length": 12, "attention": {"name": "gqa", "n_heads": 4}}
    with pytest.raises(ValueError, match="the embedding wrote none: use embedding=per_layer_embeddings"):
        build("ffn", "per_layer_input", d_model=8)(torch.zeros(1, 2, 8))
    with pytest.raises(UserError, match="reads 'layer_vectors', and no earlier layer writes it"):
        build("model", "decoder", **sizes, ffn="per_layer_input")
    with pytest.raises(UserError, match="no part reads it"):
        build("model", "decoder", **sizes, embedding="per_layer_embeddings")
    with pytest.raises(UserError, match="needs the size n_layers, which its parent does not offer"):
        build("embedding", "per_layer_embeddings", vocab_size=V, d_model=D)
    wide = build("model", "decoder", **sizes, embedding={"name": "per_layer_embeddings", "width": 5}, ffn="per_layer_input")
    with pytest.raises(
        ValueError, match="layer 0 reads vectors of width 4, and the embedding's are 5 wide: give both one width"
    ):
        wide(ids())
    deep = build(
        "model",
        "decoder",
        **sizes,
        n_layers=2,
        stack={"name": "layers", "n_layers": 3},
        embedding="per_layer_embeddings",
        ffn="per_layer_input",
    )
    with pytest.raises(ValueError, match="layer 2 reads a vector of its own, and the embedding wrote those of 2 layers"):
        deep(ids())


def test_token_types():
    part, x = made("token_types", n_types=3), tokens()
    types = x % 3
    torch.testing.assert_close(part(x, SequenceInfo(token_types=types)), part.table.weight[x] + part.types.weight[types])
    torch.testing.assert_close(part(x, SequenceInfo()), part.table.weight[x] + part.types.weight[0])
    model = scramble(decoder(embedding="token_types"))
    of_types = model(Batch(ids(), token_types=torch.ones_like(ids())))
    assert not torch.allclose(of_types, model(ids()))


def test_messages():
    with pytest.raises(UserError, match="longest=1 has no n-grams"):
        made("ngram_hash", longest=1)
    with pytest.raises(UserError, match="channels=9 exceeds d_model=8"):
        made("token_shift", channels=9)
