"""Every decoding and every sampler of the shelf: a row of a padded batch gets the text that it gets alone."""

from __future__ import annotations

import pytest
import torch

from components import build
from components.check.host import scramble
from components.check.small import SMALL
from components.core.index import own_entries
from components.core.sockets import Batch

V, LONGEST, SEEDS = 7, 6, 4
ROWS = [[1, 5], [3, 2, 4, 1, 6, 2], [2, 2, 2]]
# strong enough that what they count decides
SHARP = {
    "repetition": {"penalty": 1.8},
    "presence": {"penalty": 1.5},
    "frequency": {"penalty": 0.7},
    "no_repeat_ngram": {"n": 2},
}
SAMPLERS = sorted(e.name for e in own_entries().values() if e.kind == "sampler" and not e.preset_of)
DECODINGS = sorted(e.name for e in own_entries().values() if e.kind == "decoding" and not e.preset_of)


def decoder(position="rope", length=64, seed=0):
    sizes = {"vocab_size": V, "d_model": 16, "n_layers": 2, "context_length": length}
    return scramble(build("model", "decoder", position=position, **sizes).eval(), 0.3, seed).double()


def decoding(name, **options):
    made = build("decoding", name, **options)
    if name == "speculative":
        made.draft = decoder(seed=5)
    return made


def differing(made, model, cache, new=12, **more):
    """How many texts are not those that their prompts give alone."""
    ids = torch.tensor([[0] * (LONGEST - len(r)) + r for r in ROWS])
    valid = torch.arange(LONGEST) >= LONGEST - torch.tensor([[len(r)] for r in ROWS])
    bad = 0
    for seed in range(SEEDS):
        seeds = [(seed, i) for i in range(len(ROWS))]

        def run(batch, rows, seeds=seeds):
            options = {"cache": cache and build("cache", cache), "max_new_tokens": new, **more}
            return made.generate(model, batch, generator=[seeds[i] for i in rows], **options)

        both = run(Batch(ids, valid=valid), range(len(ROWS)))[:, LONGEST:]
        for i, row in enumerate(ROWS):
            alone = run(Batch(torch.tensor([row])), [i])[0, len(row) :]
            bad += not torch.equal(both[i, : len(alone)], alone)
    return bad


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_counts_no_padding(name):
    last = [{}, {"last": 4}] if name in ("repetition", "presence", "frequency") else [{}]
    for more in last:
        node = {"name": name, **SMALL.get(f"sampler/{name}", {}), **SHARP.get(name, {}), **more}
        assert differing(decoding("sample", samplers=[node]), decoder(), None) == 0


@pytest.mark.parametrize("cache", [None, "growing"])
@pytest.mark.parametrize("name", DECODINGS)
def test_a_decoding_reads_no_padding(name, cache):
    drawing = name in ("sample", "speculative")
    options = {"samplers": [{"name": n, **o} for n, o in SHARP.items()]} if drawing else {}
    assert differing(decoding(name, **options), decoder(), cache, stop_ids=(3,)) == 0


@pytest.mark.parametrize("name", DECODINGS)
def test_a_row_ends_at_the_end_of_the_context_as_it_does_alone(name):
    """A table of positions ends cached decoding: a short prompt has the room that it has alone."""
    assert differing(decoding(name), decoder("learned", 10), "growing", stop_ids=(3,)) == 0
