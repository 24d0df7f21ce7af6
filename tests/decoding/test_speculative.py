"""speculative: the large model's distribution, whatever the small one proposes; pieces, strings and seeds of all decodings."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components import build
from components.check.host import scramble
from components.core.errors import UserError
from components.core.sockets import Batch

V = 13
IDS = torch.tensor([[9, 9, 9, 1, 5], [4, 2, 6, 1, 0]])
VALID = torch.tensor([[False, False, False, True, True], [True] * 5])
MODELS = {
    "rope": {},
    "sliding": {"attention": {"name": "gqa", "mask": {"name": "sliding_window", "window": 4}}},
    "recurrent": {"attention": "gla", "position": "none"},
    "learned": {"position": "learned"},
}


def decoder(name="rope", layers=2, std=0.4, seed=1, vocab=V, length=64):
    model = build("model", "decoder", vocab_size=vocab, d_model=16, n_layers=layers, context_length=length, **MODELS[name])
    return scramble(model.eval(), std, seed).double()


def near(model, by=0.1, name="rope"):
    """A small model that often proposes what the large one wants."""
    other = decoder(name, layers=2)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        for p in other.parameters():
            p.add_(by * torch.randn(p.shape, generator=torch.Generator().manual_seed(3), dtype=p.dtype))
    return other


def speculative(draft, **options):
    made = build("decoding", "speculative", **options)
    made.draft = draft
    return made


ONE = [{"name": "top_k", "k": 1}]


@pytest.mark.parametrize("ahead", [1, 4, 9])
@pytest.mark.parametrize("cache", [None, "growing", "static", "ring"])
@pytest.mark.parametrize("name", MODELS)
def test_greedy_is_greedy_exactly(name, cache, ahead):
    model = decoder(name)
    options = {"max_new_tokens": 25, "stop_ids": (3,)}
    want = build("decoding", "greedy").generate(model, Batch(IDS, valid=VALID), cache=build("cache", "growing"), **options)
    for draft in (decoder(layers=1, seed=5), decoder(name, layers=1, seed=6, length=12), model):
        made = speculative(draft, ahead=ahead, samplers=ONE)
        found = made.generate(model, Batch(IDS, valid=VALID), cache=cache and build("cache", cache), generator=0, **options)
        assert torch.equal(found, want)
    made.generate(model, Batch(IDS, valid=VALID), cache=cache and build("cache", cache), generator=0, max_new_tokens=25)
    assert made.accepted == made.proposed > 0  # the large model agrees with itself


def test_rejections_happen_and_so_do_acceptances():
    model = decoder()
    made = speculative(near(model), ahead=4, samplers=ONE)
    want = build("decoding", "greedy").generate(model, Batch(IDS, valid=VALID), max_new_tokens=50)
    found = made.generate(model, Batch(IDS, valid=VALID), cache=build("cache", "growing"), max_new_tokens=50)
    assert torch.equal(found, want)
    assert 0 < made.accepted < made.proposed


class Table(nn.Module):
    """The next token's distribution depends on the last alone."""

    context_length = 64

    def __init__(self, seed):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(4, 4, generator=torch.Generator().manual_seed(seed)) * 1.5)
        self.calls = 0

    def forward(self, batch, *, last=False, **_):
        self.calls += 1
        return self.logits[batch.ids[:, -1:] if last else batch.ids]


def counts(made, model, rows, new):
    ids = torch.zeros(rows, 1, dtype=torch.long)
    found = made.generate(model, Batch(ids), max_new_tokens=new, generator=list(range(rows)))[:, 1:]
    return torch.bincount((found * 4 ** torch.arange(new)).sum(1), minlength=4**new)


@pytest.mark.parametrize("ahead", [1, 2, 5])
@pytest.mark.parametrize(
    "samplers", [[], [{"name": "temperature", "value": 0.6}, {"name": "top_k", "k": 3}]], ids=["plain", "shaped"]
)
def test_the_distribution_of_texts_is_the_large_models(ahead, samplers):
    """Chi-square over all texts of three tokens, expected from the large model's table; and against plain sampling's expectation it has power."""
    large, small, rows, new = Table(0), Table(1), 2000, 3
    found = counts(speculative(small, ahead=ahead, samplers=samplers), large, rows, new)

    def expected(table):
        logits = table.logits.detach()
        for sampler in (build("sampler", s["name"], **{k: v for k, v in s.items() if k != "name"}) for s in samplers):
            logits = sampler(logits, torch.zeros(4, 1, dtype=torch.long), None)
        p = logits.softmax(-1)
        chain = [p[0, a] * p[a, b] * p[b, c] for c in range(4) for b in range(4) for a in range(4)]
        return torch.stack(chain).double() * rows

    def chi(wanted):
        some = wanted >= 5
        rest, seen = wanted[~some].sum(), found[~some].sum()
        value = ((found[some] - wanted[some]) ** 2 / wanted[some]).sum() + ((seen - rest) ** 2 / rest if rest > 1 else 0.0)
        freedom = int(some.sum()) - (0 if rest > 1 else 1)
        return value.item(), freedom + 4 * (2 * freedom) ** 0.5  # four standard deviations

    value, bound = chi(expected(large))
    assert value < bound
    wrong, bound = chi(expected(small))
    assert wrong > 2 * bound


def test_seeds_decide_and_company_does_not():
    model = decoder()
    made = speculative(decoder(layers=1, seed=5))
    seeds = [(7, 0), (7, 1)]
    both = made.generate(model, Batch(IDS, valid=VALID), cache=build("cache", "growing"), max_new_tokens=12, generator=seeds)
    for i, prompt in enumerate((IDS[:1, 3:], IDS[1:])):
        alone = made.generate(model, Batch(prompt), max_new_tokens=12, generator=[seeds[i]])
        assert torch.equal(alone[0, prompt.shape[1] :], both[i, 5:])
    other = made.generate(model, Batch(IDS, valid=VALID), max_new_tokens=12, generator=8)
    assert not torch.equal(other, both)


def test_a_context_ends_it_and_a_small_one_only_silences_the_draft():
    model = decoder("learned", length=20)
    for cache in (None, "growing"):
        found = speculative(decoder(), samplers=ONE).generate(
            model, Batch(IDS), cache=cache and build("cache", cache), max_new_tokens=60
        )
        assert found.shape == (2, 21)
    assert speculative(decoder("learned", length=8), samplers=ONE).generate(decoder(), Batch(IDS), max_new_tokens=30).shape == (
        2,
        35,
    )


def test_tokens_are_heard_as_they_come():
    heard = []
    model = decoder()
    found = speculative(near(model)).generate(
        model, Batch(IDS[1:]), max_new_tokens=9, generator=0, on_token=lambda t: heard.append(t.item())
    )
    assert heard == found[0, 5:].tolist()


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="give draft=RUN"):
        build("decoding", "speculative").generate(decoder(), Batch(IDS), max_new_tokens=2)
    with pytest.raises(ValueError, match="11 logits and the large one 13"):
        speculative(decoder(vocab=11, layers=1), samplers=[]).generate(decoder(), Batch(IDS), max_new_tokens=5)


# of all decodings

ALL = {
    "greedy": lambda _: build("decoding", "greedy"),
    "sample": lambda _: build("decoding", "sample"),
    "beam": lambda _: build("decoding", "beam"),
    "speculative": lambda m: speculative(near(m)),
}


@pytest.mark.parametrize("cache", ["growing", "static", "ring", "int8"])
@pytest.mark.parametrize("decoding", ALL)
def test_prompts_read_in_pieces_give_the_same_text(decoding, cache):
    model, ids = decoder("sliding"), torch.randint(0, V, (2, 23), generator=torch.Generator().manual_seed(0))
    valid = torch.arange(23) >= torch.tensor([[9], [0]])
    texts = [
        ALL[decoding](model).generate(
            model, Batch(ids, valid=valid), cache=build("cache", cache), max_new_tokens=8, generator=3, prefill_chunk=size
        )
        for size in (None, 1, 5, 22, 40)
    ]
    exact = cache != "int8"
    assert all(torch.equal(t, texts[0]) for t in texts[1:]) or not exact
    assert all(t.shape == texts[0].shape for t in texts)


def test_pieces_are_as_long_as_asked():
    model, ids = decoder(), torch.randint(0, V, (2, 23))
    lengths = []
    model.register_forward_pre_hook(lambda _, args: lengths.append(args[0].ids.shape[1]))
    build("decoding", "greedy").generate(model, Batch(ids), cache=build("cache", "growing"), max_new_tokens=3, prefill_chunk=10)
    assert lengths == [10, 10, 3, 1, 1]


def test_a_prefix_is_read_at_once_and_stays_in_sight():
    model = decoder("sliding")
    batch = Batch(IDS, prefix=torch.tensor([3, 3]))
    options = {"max_new_tokens": 12, "prefill_chunk": 2}
    found = build("decoding", "greedy").generate(model, batch, cache=build("cache", "growing"), **options)
    assert torch.equal(found, build("decoding", "greedy").generate(model, batch, **options))


@pytest.mark.parametrize("decoding", ["greedy", "sample", "speculative"])
def test_rows_end_as_the_caller_says(decoding):
    model = decoder()
    made = ALL[decoding](model)
    options = {"max_new_tokens": 30, "generator": 1}
    whole = made.generate(model, Batch(IDS, valid=VALID), **options)
    widths = []

    def over(ids):
        widths.append(ids.shape[1])
        return (ids[:, 5:] == 7).any(1) | (ids.shape[1] >= 15)

    found = made.generate(model, Batch(IDS, valid=VALID), over=over, cache=build("cache", "growing"), **options)
    assert min(widths) == 6  # padding is in what it is shown
    for a, b in zip(found.tolist(), whole.tolist()):
        until = b.index(7, 5) + 1 if 7 in b[5:15] else 15
        assert a[5:until] == b[5:until]
        assert set(a[until:]) <= {0}


@pytest.mark.parametrize(("name", "again"), [("rope", False), ("learned", False), ("sliding", False), ("recurrent", True)])
def test_what_was_accepted_is_not_read_again(name, again):
    """A growing cache forgets what was rejected, where no part keeps a state that would have to be made anew."""
    model, read = decoder(name), []
    model.register_forward_pre_hook(lambda _, given: read.append(given[0].ids.shape[1]))
    made = speculative(near(model, name=name), samplers=ONE)
    made.generate(model, Batch(IDS[1:]), cache=build("cache", "growing"), generator=0, max_new_tokens=40)
    assert made.accepted < made.proposed
    assert (sum(read) > IDS.shape[1] + made.proposed + len(read)) == again
