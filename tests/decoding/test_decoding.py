"""greedy and sample: cached equals uncached, padding and company change nothing, rows stop alone, seeds say everything."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch
from torch import nn

from components import build
from components.core import registry
from components.core.errors import UserError
from components.core.sockets import Batch
from components.parts.decoding._decoding import Decoding, Wanted
from components.parts.decoding.sample import Uniforms, draw

V, L = 13, 12


def decoder(position="rope", **options):
    torch.manual_seed(0)
    model = build("model", "decoder", vocab_size=V, d_model=16, n_layers=2, context_length=L, position=position, **options)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.4 * torch.randn(p.shape))  # sharp enough that the likeliest token is clear
    return model


PROMPT = torch.tensor([[1, 5, 2, 8], [3, 3, 0, 7]])
SEEDED = {"greedy": {}, "sample": {"generator": 5}}


def run(model, ids=PROMPT, name="greedy", cached=True, n=6, valid=None, **kwargs):
    cache = build("cache", "growing") if cached else None
    batch = ids if isinstance(ids, Batch) else Batch(ids, valid=valid)
    return build("decoding", name).generate(model, batch, cache=cache, max_new_tokens=n, **{**SEEDED[name], **kwargs})


@pytest.mark.parametrize("name", ["greedy", "sample"])
@pytest.mark.parametrize("position", ["rope", "alibi", "learned", "sinusoidal", "none"])
def test_cached_equals_uncached(name, position):
    model = decoder(position)
    found = run(model, name=name)
    assert found.shape == (2, 10)
    assert torch.equal(found[:, :4], PROMPT)
    assert torch.equal(found, run(model, name=name, cached=False))


def test_greedy_takes_the_likeliest_token():
    model = decoder().eval()
    found = run(model)
    with torch.no_grad():
        assert torch.equal(model(found)[:, 3:-1].argmax(-1), found[:, 4:])


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("position", ["rope", "alibi", "learned"])
def test_left_padding_and_company_change_nothing(position, cached):
    model = decoder(position)
    ids = torch.tensor([[9, 9, 9, 1, 5], [4, 2, 6, 1, 0]])
    valid = torch.tensor([[False, False, False, True, True], [True] * 5])
    seeds = [11, 12]
    both = run(model, ids, "sample", cached, valid=valid, generator=seeds)
    for i, prompt in enumerate((ids[:1, 3:], ids[1:])):
        alone = run(model, prompt, "sample", cached, generator=[seeds[i]])
        assert torch.equal(both[i, 5:], alone[0, prompt.shape[1] :])


def test_documents_in_the_prompt_stay_apart():
    model = decoder()
    documents = torch.tensor([[0, 0, 1, 1]])
    ids = torch.tensor([[1, 5, 2, 8]])
    alone = run(model, ids[:, 2:])[0, 2:]
    for cached in (True, False):
        assert torch.equal(run(model, Batch(ids, documents=documents), cached=cached)[0, 4:], alone)


def test_an_encoder_decoder_reads_its_source_once():
    torch.manual_seed(0)
    model = build("model", "encoder_decoder", vocab_size=V, d_model=16, n_layers=2, context_length=L)
    batch = Batch(torch.tensor([[1], [1]]), source=Batch(torch.tensor([[3, 4, 5, 6], [7, 8, 9, 0]])))
    calls = []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    found = run(model, batch, n=8)
    assert len(calls) == 1
    assert torch.equal(found, run(model, batch, n=8, cached=False))


class Counting(nn.Module):
    """Says the next number, whatever came before."""

    context_length = L

    def forward(self, batch, **_):
        self.calls = [*getattr(self, "calls", []), (batch.ids.shape[1], self.training, torch.is_inference_mode_enabled())]
        return 50.0 * torch.nn.functional.one_hot((batch.ids[:, -1:] + 1) % V, V)


def test_rows_stop_alone_and_are_filled():
    heard = []
    model = Counting()
    found = run(
        model, torch.tensor([[0], [3]]), n=9, cached=False, stop_ids=(5, 6), on_token=lambda t: heard.append(t.tolist())
    )
    assert found.tolist() == [[0, 1, 2, 3, 4, 5], [3, 4, 5, 5, 5, 5]]
    assert heard == [[1, 4], [2, 5], [3, 5], [4, 5], [5, 5]]


def test_each_token_is_read_once_in_eval_and_inference_mode_and_the_result_can_be_trained_on():
    model = Counting()
    found = run(model, torch.tensor([[0, 1]]), n=4)
    assert model.calls == [(2, False, True), (1, False, True), (1, False, True), (1, False, True)]
    assert model.training
    assert not found.is_inference()
    assert run(model, torch.tensor([[0, 1]]), n=0).tolist() == [[0, 1]]


@pytest.mark.parametrize("cached", [True, False])
def test_models_without_a_table_go_on_beyond_the_context(cached):
    assert run(decoder("rope"), n=20, cached=cached).shape == (2, 24)


def test_a_table_of_positions_ends_cached_decoding_and_slides_without_a_cache():
    model = decoder("learned")
    assert run(model, n=30).shape == (2, L + 1)
    long = run(model, n=30, cached=False)
    assert long.shape == (2, 34)
    assert torch.equal(long[:, : L + 1], run(model, n=30))
    with torch.no_grad():
        assert torch.equal(model.eval()(long[:, -L - 1 : -1])[:, -1].argmax(-1), long[:, -1])
    with pytest.raises(UserError, match=f"context of {L}"):
        run(model, torch.zeros(1, L + 1, dtype=torch.long))


def test_seeds_decide():
    model = decoder()
    same = PROMPT[:1].repeat(3, 1)
    a, b = run(model, same, "sample", n=10, generator=1), run(model, same, "sample", n=10, generator=1)
    assert torch.equal(a, b)
    assert len({tuple(r) for r in a.tolist()}) > 1
    assert not torch.equal(a, run(model, same, "sample", n=10, generator=2))
    assert torch.equal(a[:1], run(model, same[:1], "sample", n=10, generator=1))
    state = torch.random.get_rng_state()
    run(model, same, "sample", generator=torch.Generator().manual_seed(0))
    assert torch.equal(state, torch.random.get_rng_state())
    with pytest.raises(ValueError, match="2 seeds for 3 rows"):
        run(model, same, "sample", generator=[1, 2])


def test_numbers_do_not_depend_on_how_many_are_drawn():
    one, two = Uniforms(1, 3), Uniforms(2, 3)
    first = [(one(n)[0].item(), two(n)[0].item()) for n in range(130)]
    assert all(a == b for a, b in first)
    assert len({a for a, _ in first}) == 130


def test_draw_follows_the_distribution_and_never_takes_the_impossible():
    p = torch.tensor([0.0, 0.2, 0.0, 0.5, 0.3, 0.0])
    u = (torch.arange(10000) + 0.5) / 10000
    counts = torch.bincount(draw(p.log().expand(10000, -1), u), minlength=6)
    assert counts.tolist() == [0, 2000, 0, 5000, 3000, 0]
    edges = torch.tensor([0.0, 1 - 2**-24])
    assert draw(p.log().expand(2, -1), edges).tolist() == [1, 4]


def test_samplers_are_applied_in_order_to_fp32_logits():
    found = run(decoder(), name="sample", n=3)
    sharp = build("decoding", "sample", samplers=["top_k", {"name": "top_k", "k": 1}])
    greedy = run(decoder(), n=3)
    assert torch.equal(sharp.generate(decoder(), Batch(PROMPT), max_new_tokens=3, generator=0), greedy)
    assert found.shape == greedy.shape
    with pytest.raises(UserError, match="use decoding=greedy"):
        build("decoding", "sample", samplers=[{"name": "temperature", "value": 0.0}])


def test_what_cannot_be_read_is_refused():
    with pytest.raises(UserError, match="no token"):
        run(decoder(), torch.zeros(1, 0, dtype=torch.long))
    with pytest.raises(ValueError, match="left"):
        run(decoder(), PROMPT, valid=torch.tensor([[True] * 4, [True, True, True, False]]))


def test_the_call_of_a_decoding_stands_once():
    """A decoding says how it writes, not what it may be asked: a new word of the call reaches all of them."""
    entries = [e for e in registry.entries("decoding").values() if not e.preset_of]
    assert len(entries) >= 4
    for entry in entries:
        part = registry.find("decoding", entry.name)
        assert part.generate is Decoding.generate, entry.name
        assert list(inspect.signature(part.written).parameters) == ["self", "model", "batch", "wanted"]
    asked = inspect.signature(Decoding.generate).parameters.values()
    kept = [f.name for f in dataclasses.fields(Wanted)]
    assert kept == [p.name for p in asked if p.kind is p.KEYWORD_ONLY], "nothing that is asked is lost on the way"
