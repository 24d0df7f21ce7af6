"""Texts that pass the original context of LongRoPE: every angle changes there, and what is written is what transformers writes."""

from __future__ import annotations

from dataclasses import replace

import oracles_dense
import pytest
import torch
from parity import made

from components import build
from components.core.sockets import Batch

pytest.importorskip("transformers")
ORACLE = replace(next(o for o in oracles_dense.ORACLES if o.name == "Phi-3.5, LongRoPE"), std=0.3)
ORIGINAL, NEW = 40, 14
LENGTHS = (36, 39, 40, 41, 30)  # before, at the border, beyond, never there in time; the last but one reads a long prompt


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    found = made(ORACLE, tmp_path_factory.mktemp("theirs"))
    found.theirs.double()
    found.ours.double()
    return found


def prompt(pair, length, seed=0):
    return pair.ids(1, length, seed)


def theirs(pair, ids, **options):
    fixed = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": -1, "pad_token_id": 0, "num_beams": 1, **options}
    return pair.theirs.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **fixed)[0, ids.shape[1] :].tolist()


def ours(pair, batch, decoding="greedy", cache="growing", prefill_chunk=None, **options):
    kept = cache and build("cache", cache)
    more = {"prefill_chunk": prefill_chunk} if prefill_chunk else {}
    found = build("decoding", decoding, **options).generate(pair.ours, batch, cache=kept, max_new_tokens=NEW, **more)
    return found[:, batch.ids.shape[1] :].tolist()


@pytest.mark.parametrize("cache", [None, "growing", "static", "ring"])
def test_greedy_text_is_the_same(pair, cache):
    for length in LENGTHS:
        for seed in (0, 2):
            ids = prompt(pair, length, seed)
            assert ours(pair, Batch(ids), cache=cache) == [theirs(pair, ids)], (length, seed)


def test_a_cache_that_goes_on_would_write_something_else(pair):
    ids = prompt(pair, 36)
    cache, out = build("cache", "growing"), []
    with torch.no_grad():
        token = pair.ours(ids, cache=cache)[:, -1:].argmax(-1)
        for _ in range(NEW):
            out.append(int(token))
            token = pair.ours(token, cache=cache).argmax(-1)
    wanted = theirs(pair, ids)
    assert out != wanted
    assert out[: ORIGINAL - 36] == wanted[: ORIGINAL - 36]


def test_each_row_of_a_batch_turns_at_its_own_length(pair):
    prompts = [prompt(pair, n, seed)[0] for n, seed in ((36, 0), (30, 2), (39, 2), (41, 1))]
    width = max(map(len, prompts))
    ids = torch.stack([torch.cat((p.new_zeros(width - len(p)), p)) for p in prompts])
    valid = torch.stack([torch.arange(width) >= width - len(p) for p in prompts])
    assert ours(pair, Batch(ids, valid=valid)) == [theirs(pair, p[None]) for p in prompts]


def test_a_long_prompt_is_read_in_one_piece(pair):
    ids = prompt(pair, 44)
    assert ours(pair, Batch(ids), prefill_chunk=7) == ours(pair, Batch(ids), cache=None) == [theirs(pair, ids)]


def test_beams_turn_too(pair):
    for seed in (0, 2):
        ids = prompt(pair, 36, seed)
        wanted = theirs(pair, ids, num_beams=3)
        for cache in (None, "growing"):
            assert ours(pair, Batch(ids), "beam", cache, beam_size=3) == [wanted]
