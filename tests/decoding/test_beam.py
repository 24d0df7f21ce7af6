"""beam: the best text that there is where all fit into the beam, and the same text however it is read."""

from __future__ import annotations

import itertools

import pytest
import torch

from components import build
from components.check.host import scramble
from components.core.sockets import Batch

V, STOP = 5, 3
PROMPTS = torch.tensor([[1, 4, 2], [0, 2, 2]])


def decoder(vocab=V, std=0.4, **options):
    model = build("model", "decoder", vocab_size=vocab, d_model=16, n_layers=2, context_length=32, **options)
    return scramble(model.eval(), std).double()


def beam(model, ids=PROMPTS, *, cached=True, n=4, stop_ids=(STOP,), valid=None, cache="growing", over=None, **options):
    more = {"cache": build("cache", cache) if cached else None, "stop_ids": stop_ids, "over": over}
    return build("decoding", "beam", **options).generate(model, Batch(ids, valid=valid), max_new_tokens=n, **more)


@torch.no_grad()
def log_probability(model, prompt, text):
    row = torch.cat((prompt, torch.tensor(text)))[None]
    logs = model(row)[0, :-1].log_softmax(-1)
    return sum(logs[len(prompt) - 1 + i, token].item() for i, token in enumerate(text))


def texts(n):
    """All that end with the stop or have n tokens."""
    for length in range(1, n + 1):
        for text in itertools.product(range(V), repeat=length):
            if STOP not in text[:-1] and (text[-1] == STOP or length == n):
                yield text


@pytest.mark.parametrize("early_stopping", ["full", "estimate", "never"])
@pytest.mark.parametrize("penalty", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_equals_an_exhaustive_search(penalty, early_stopping):
    if early_stopping != "never" and penalty > 0:
        pytest.skip("it may end before the best text is finished")
    model, n = decoder(), 3
    found = beam(model, n=n, beam_size=130, length_penalty=penalty, early_stopping=early_stopping)
    for prompt, row in zip(PROMPTS, found):
        best = max(texts(n), key=lambda t: log_probability(model, prompt, t) / len(t) ** penalty)
        if early_stopping == "full":  # 130 texts are never finished before the last step
            assert len(list(texts(n))) < 130
        assert tuple(row[3 : 3 + len(best)].tolist()) == best
        assert (row[3 + len(best) :] == STOP).all()


def test_a_beam_of_one_is_greedy():
    model = decoder(vocab=23)
    want = build("decoding", "greedy").generate(model, Batch(PROMPTS), max_new_tokens=9, stop_ids=(3, 4))
    got = beam(model, n=9, beam_size=1, stop_ids=(3, 4), early_stopping="full")
    assert torch.equal(got, want)


def test_is_at_least_as_likely_as_greedy_and_somewhere_more():
    gains = []
    for seed in range(4):
        model = scramble(decoder(vocab=23), 0.4, seed)
        plain = build("decoding", "greedy").generate(model, Batch(PROMPTS), max_new_tokens=6)
        for prompt, a, b in zip(PROMPTS, beam(model, n=6, beam_size=8, stop_ids=(), length_penalty=0.0), plain):
            gains.append(log_probability(model, prompt, a[3:].tolist()) - log_probability(model, prompt, b[3:].tolist()))
    assert max(gains) > 1e-6
    assert sum(g > -1e-9 for g in gains) >= len(gains) - 1


@pytest.mark.parametrize("position", ["rope", "learned"])
@pytest.mark.parametrize("cache", ["growing", "static", "ring"])
def test_cached_equals_uncached_with_padding_and_company(cache, position):
    model = decoder(vocab=23, position=position)
    ids = torch.tensor([[9, 9, 9, 1, 5], [4, 2, 6, 1, 0]])
    valid = torch.tensor([[False, False, False, True, True], [True] * 5])
    both = beam(model, ids, valid=valid, n=7, stop_ids=(), cache=cache)
    assert torch.equal(both, beam(model, ids, valid=valid, n=7, stop_ids=(), cached=False))
    for i, prompt in enumerate((ids[:1, 3:], ids[1:])):
        assert torch.equal(beam(model, prompt, n=7, stop_ids=())[0, prompt.shape[1] :], both[i, 5:])


def test_recurrent_states_follow_their_beams():
    model = decoder(vocab=23, attention="gla", position="none")
    assert torch.equal(beam(model, n=7, stop_ids=()), beam(model, n=7, stop_ids=(), cached=False))


def test_an_encoder_decoder():
    model = build("model", "encoder_decoder", vocab_size=13, d_model=16, n_layers=2, context_length=12)
    model = scramble(model.eval(), 0.7, seed=7).double()
    batch = Batch(torch.tensor([[1], [1]]), source=Batch(torch.tensor([[3, 4, 5, 6], [7, 8, 9, 0]])))
    made = [
        build("decoding", "beam").generate(model, batch, cache=c, max_new_tokens=7) for c in (build("cache", "growing"), None)
    ]
    assert torch.equal(*made)
    assert not torch.equal(made[0][0], made[0][1])


def test_a_table_of_positions_ends_it():
    assert beam(decoder(position="learned"), n=60, stop_ids=()).shape == (2, 33)
    assert beam(decoder(position="rope"), n=60, stop_ids=()).shape == (2, 63)


def test_tokens_are_heard_at_the_end_and_rows_may_end_otherwise():
    heard = []
    model = decoder(vocab=23)
    whole = beam(model, n=5, stop_ids=())
    build("decoding", "beam").generate(model, Batch(PROMPTS), max_new_tokens=5, on_token=lambda t: heard.append(t.tolist()))
    assert torch.tensor(heard).T.tolist() == whole[:, 3:].tolist()
    token = whole[0, 4].item()
    found = beam(model, n=5, stop_ids=(), over=lambda ids: ids[:, -1] == token, early_stopping="full", beam_size=1)
    greedy = build("decoding", "greedy").generate(model, Batch(PROMPTS), max_new_tokens=5, over=lambda ids: ids[:, -1] == token)
    assert torch.equal(found[:, : greedy.shape[1]], greedy)
