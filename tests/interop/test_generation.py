"""Texts equal transformers' ``generate`` token for token: greedy and beam search, prompts of different lengths together, every cache."""

from __future__ import annotations

import pytest
import torch
from oracles_gpt2_llama import ORACLES
from parity import made

from components import build
from components.core.sockets import Batch

pytest.importorskip("transformers")

NEW = 12
every = pytest.mark.parametrize("oracle", ORACLES, ids=str)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    known = {o.name: made(o, tmp_path_factory.mktemp("theirs")) for o in ORACLES}
    return lambda oracle: known[oracle.name]


def prompts(pair):
    """Three prompts of different lengths, padded on the left."""
    ids = pair.ids(rows=3)
    mask = torch.ones_like(ids)
    mask[0, :5], mask[2, :11] = 0, 0
    return ids, mask


def theirs(pair, ids, mask, **options):
    fixed = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": options["eos_token_id"][0]}
    return pair.theirs.generate(input_ids=ids, attention_mask=mask, **fixed, **options)


def ours(pair, ids, mask, decoding, stop_ids, cache="growing", **options):
    batch, kept = Batch(ids, valid=mask.bool()), cache and build("cache", cache)
    return build("decoding", decoding, **options).generate(pair.ours, batch, cache=kept, max_new_tokens=NEW, stop_ids=stop_ids)


def stops_of(pair, ids, mask):
    """Ids that end some of the rows before their time, and one that ends none."""
    free = ours(pair, ids, mask, "greedy", ())
    return [[96], [free[0, ids.shape[1] + 4].item(), free[1, ids.shape[1] + 7].item()]]


@every
def test_greedy_text_of_a_padded_batch_is_the_same(oracle, pairs):
    pair = pairs(oracle)
    ids, mask = prompts(pair)
    lengths = []
    for stops in stops_of(pair, ids, mask):
        wanted = theirs(pair, ids, mask, num_beams=1, eos_token_id=stops)
        for cache in (None, "growing", "static", "ring"):
            assert torch.equal(ours(pair, ids, mask, "greedy", stops, cache), wanted)
        lengths.append((wanted[:, ids.shape[1] :] != stops[0]).sum(1).tolist())
    assert lengths[0] != lengths[1]  # rows did stop


BEAMS = [
    (2, 1.0, "full"),
    (4, 1.0, "estimate"),
    (4, 0.0, "never"),
    (3, 2.0, "never"),
    (4, -1.0, "estimate"),
    (5, 0.6, "full"),
]
THEIRS = {"full": True, "estimate": False, "never": "never"}


@pytest.mark.parametrize(("size", "penalty", "early"), BEAMS)
@every
def test_beam_search_is_the_same(oracle, pairs, size, penalty, early):
    pair = pairs(oracle)
    ids, mask = prompts(pair)
    for stops in stops_of(pair, ids, mask):
        wanted = theirs(
            pair, ids, mask, num_beams=size, length_penalty=penalty, early_stopping=THEIRS[early], eos_token_id=stops
        )
        for cache in (None, "growing"):
            found = ours(pair, ids, mask, "beam", stops, cache, beam_size=size, length_penalty=penalty, early_stopping=early)
            assert torch.equal(found, wanted)


@every
def test_speculative_text_is_theirs_too(oracle, pairs):
    pair = pairs(oracle)
    ids, mask = prompts(pair)
    wanted = theirs(pair, ids, mask, num_beams=1, eos_token_id=[96])
    decoding = build("decoding", "speculative", samplers=[{"name": "top_k", "k": 1}])
    decoding.draft = pairs(ORACLES[0]).ours
    found = decoding.generate(
        pair.ours, Batch(ids, valid=mask.bool()), cache=build("cache", "growing"), max_new_tokens=NEW, stop_ids=[96]
    )
    assert torch.equal(found, wanted)
