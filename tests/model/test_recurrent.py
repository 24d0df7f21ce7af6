"""The recurrent encoder-decoder: torch's own recurrence inside, what passes from source to target, padding, documents, decoding."""

from __future__ import annotations

import pytest
import torch

from components import build
from components.compose import compose
from components.core.errors import UserError
from components.core.makers import make
from components.core.sockets import Batch
from components.parts.loss.seq2seq import SequenceToSequence

V, D = 17, 12
SIZES = {"vocab_size": V, "d_model": D, "context_length": 16}
CELLS = ("rnn", "gru", "lstm", "slstm")
MODELS = [{"attention": cell} for cell in CELLS] + [
    {"attention": "gru", "cross": {"name": "mha", "n_heads": 1}},
    {"attention": "lstm", "n_layers": 2},
    {"attention": "gru", "n_layers": 2, "cross": {"name": "gqa", "n_heads": 2}},
]
every_model = pytest.mark.parametrize("options", MODELS, ids=str)


def ids(length, rows=2, seed=0):
    return torch.randint(1, V, (rows, length), generator=torch.Generator().manual_seed(seed))


def made(**options):
    model = build("model", "recurrent", **SIZES, **options).double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.empty(p.shape).normal_(0, 0.4, generator=generator))
    return model


def both(x, source, **changes):
    return Batch(x, source=Batch(source), **changes)


def test_a_gru_that_begins_where_another_ended():
    model = made(attention="gru")
    theirs = [torch.nn.GRU(D, D, batch_first=True).double() for _ in range(2)]
    with torch.no_grad():
        for ours, gru in zip((model.encoder[0], model.decoder[0]), theirs, strict=True):
            gru.weight_ih_l0.copy_(ours.input.weight)
            gru.weight_hh_l0.copy_(ours.recurrent.weight)
            gru.bias_ih_l0.copy_(ours.input.bias)
            gru.bias_hh_l0.copy_(ours.recurrent.bias)
        source, target = ids(6), ids(5, seed=1)
        read, state = theirs[0](model.embedding.table(source))
        written, _ = theirs[1](model.embedding.table(target), state)
        context = model.encoder[0].out(read[:, -1:]).expand(-1, 5, -1)
        hidden = torch.tanh(model.combine(torch.cat((context, model.decoder[0].out(written)), -1)))
        torch.testing.assert_close(model(both(target, source)), model.head.logits(hidden))


@every_model
def test_padding_of_the_source_moves_no_state(options):
    model, source, target = made(**options), ids(6), ids(5, seed=1)
    want = model(both(target, source))
    pad = torch.full((2, 3), 3)
    for whole, here in ((torch.cat((pad, source), 1), slice(3, 9)), (torch.cat((source, pad), 1), slice(0, 6))):
        valid = torch.zeros(2, 9, dtype=torch.bool)
        valid[:, here] = True
        torch.testing.assert_close(model(Batch(target, source=Batch(whole, valid=valid))), want)
    assert not torch.allclose(model(both(target, torch.cat((source, pad), 1))), want)


@every_model
def test_the_first_word_is_not_forgotten_in_the_gradient(options):
    model, source, target = made(**options), ids(6), ids(5, seed=1)
    seen = []
    model.embedding.register_forward_hook(lambda *given: (given[-1].retain_grad(), seen.append(given[-1]))[0])
    model(both(target, source))[:, -1].sum().backward()
    assert (seen[0].grad[:, 0].abs().sum(-1) > 0).all()


@every_model
@pytest.mark.parametrize("chunk", [11, 1, 4])
def test_packed_texts_are_as_each_alone(options, chunk):
    """Two sources in a row, two targets in a row, with padding before and between, read in chunks."""
    model = made(**options)
    sources, targets = (ids(3, 1), ids(4, 1, 1)), (ids(4, 1, 2), ids(5, 1, 3))
    want = [model(both(t, s)) for s, t in zip(sources, targets, strict=True)]
    pad = torch.zeros(1, 1, dtype=torch.long)
    source = Batch(
        torch.cat((sources[0], pad, sources[1], pad), 1),
        documents=torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1]]),
        valid=torch.tensor([[True] * 3 + [False] + [True] * 4 + [False]]),
    )
    row = torch.cat((pad, targets[0], pad, targets[1]), 1)
    documents = torch.tensor([[1] + [0] * 5 + [1] * 5])  # the padding in front is called after another text
    valid = torch.tensor([[False] + [True] * 4 + [False] + [True] * 5])
    positions = torch.tensor([[0, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4]])
    cache, steps = build("cache", "growing"), []
    for at in range(0, 11, chunk):
        here = slice(at, at + chunk)
        given = {"documents": documents[:, here], "valid": valid[:, here], "positions": positions[:, here]}
        batch = Batch(row[:, here], source=source if at == 0 else None, **given)
        steps.append(model(batch, cache=cache))
    found = torch.cat(steps, 1)
    torch.testing.assert_close(found[:, 1:5], want[0])
    torch.testing.assert_close(found[:, 6:], want[1])


@every_model
def test_decodings_with_and_without_a_cache(options):
    model, source, start = made(**options), ids(6), ids(1, seed=1)
    valid = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    for name in ("greedy", {"name": "beam", "beam_size": 3}):
        decoding = make(name, "decoding")
        batch = Batch(start, source=Batch(source, valid=valid))
        found = [decoding.generate(model, batch, cache=cache, max_new_tokens=6) for cache in (build("cache", "growing"), None)]
        assert torch.equal(*found)


def test_the_source_is_read_once():
    model, source = made(attention="gru", cross="mha"), ids(6)
    calls = []
    encode, model.encode = model.encode, lambda s: calls.append(s) or encode(s)
    build("decoding", "greedy").generate(model, both(ids(1), source), cache=build("cache", "growing"), max_new_tokens=4)
    assert len(calls) == 1


def test_without_attention_a_source_is_one_state():
    """All that differs between two sources is in what the encoder hands on: the same state and output, the same target."""
    model, target = made(attention="gru"), ids(5, seed=1)
    memory, info, states = model.encode(Batch(ids(6)))
    assert [s.shape for (s,) in states] == [(2, D)]
    model.encode = lambda _: (memory[:, -1:], info, states)  # the outputs before the last are gone
    torch.testing.assert_close(model(both(target, ids(3))), build_same(model)(both(target, ids(6))))


def build_same(model):
    other = made(attention="gru")
    other.load_state_dict(model.state_dict())
    return other


@pytest.mark.parametrize("cross", ["none", "mha"])
def test_it_learns_to_turn_round(cross):
    model = build("model", "recurrent", **{**SIZES, "d_model": 32}, attention="gru", cross=cross)
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=0.01), SequenceToSequence(V)
    for step in range(120):
        source = ids(4, 32, seed=step)
        text = torch.cat((torch.zeros(32, 1, dtype=torch.long), source.flip(1)), 1)
        total, weight = model(Batch(text[:, :-1], targets=text[:, 1:], source=Batch(source)), loss).losses["loss"]
        optimizer.zero_grad()
        (total / weight).backward()
        optimizer.step()
        first = total / weight if step == 0 else first
    assert total / weight < 0.7 * first


def test_what_cannot_be_its_recurrence_or_its_cross():
    said = ["model=recurrent", "loss=seq2seq"]
    with pytest.raises(
        UserError, match=r"model/recurrent needs state of its attention, and attention/gqa at model.attention does not"
    ):
        compose("gpt_python", [*said, "model/attention=gqa"])
    with pytest.raises(
        UserError, match=r"model/recurrent needs memory or absent of its cross, and attention/lstm at model.cross does"
    ):
        compose("gpt_python", [*said, "model/attention=gru", "model/cross=lstm"])
    for cross in ("none", "mha", "gqa"):
        composed = compose("gpt_python", [*said, "model/attention=lstm", f"model/cross={cross}"])
        assert composed.config["model"]["attention"]["name"] == "lstm"
    with pytest.raises(UserError, match="GroupedQueryAttention hands no state on"):
        build("model", "recurrent", **SIZES, attention="gqa")
    with pytest.raises(UserError, match="LSTM reads no memory"):
        build("model", "recurrent", **SIZES, cross="lstm")
    with pytest.raises(ValueError, match="reads a Batch with a source"):
        made()(ids(3))
