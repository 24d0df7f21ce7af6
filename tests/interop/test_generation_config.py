"""A checkpoint's own way of writing: read on import, shown, used, overridden, and written on export as it is by then."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints as made
import pytest
import torch

import components
from components.cli import main
from components.core.errors import UserError
from components.runs.generation_config import decoding_of, fields_of, generation_of

transformers = pytest.importorskip("transformers")
PROMPT = "The quick"
SAID = {
    "likeliest": {"do_sample": False, "suppress_tokens": [5, 40], "bad_words_ids": [[7], [9]], "max_new_tokens": 9},
    "likeliest, shaped": {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2, "suppress_tokens": [5], "max_new_tokens": 9},
    "beams": {"num_beams": 3, "no_repeat_ngram_size": 2, "length_penalty": 0.5, "max_new_tokens": 9},
    "beams, shaped": {
        "num_beams": 4,
        "repetition_penalty": 1.3,
        "suppress_tokens": [5, 6, 7],
        "early_stopping": True,
        "max_new_tokens": 8,
    },
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return made.llama(tmp_path_factory.mktemp("llama") / "theirs")


def their_ids(folder: Path) -> tuple[list[int], str]:
    """What transformers writes after ``PROMPT`` with the folder's file, and the text of both: no option is given."""
    model, tokenizer = (c.from_pretrained(folder) for c in (transformers.AutoModelForCausalLM, transformers.AutoTokenizer))
    ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0)[0]
    text = tokenizer.decode(whole, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return whole[ids.shape[1] :].tolist(), text


@pytest.mark.parametrize("name", SAID)
def test_text_is_that_of_transformers_with_the_same_file(name, llama):
    """All comes from the file, the number of tokens too; what is suppressed is what would have been written."""
    file, said = llama / "generation_config.json", SAID[name]
    file.write_text(json.dumps({"eos_token_id": 2, "do_sample": False, "max_new_tokens": 9}))
    plain, plain_text = their_ids(llama)
    if "suppress_tokens" in said:
        said = {**said, "suppress_tokens": plain[:2]}
    file.write_text(json.dumps({"eos_token_id": 2, **said}))
    text = their_ids(llama)[1]
    assert components.load(llama).generate(PROMPT) == text
    assert text != plain_text
    assert components.load(llama, ["decoding=greedy"]).generate(PROMPT, max_new_tokens=9) == plain_text  # overridden


def test_forced_first_and_last_tokens_of_an_encoder_decoder(tmp_path):
    theirs = made.bart(tmp_path / "theirs")
    held = {
        "decoder_start_token_id": 1,
        "forced_bos_token_id": 0,
        "forced_eos_token_id": 1,
        "num_beams": 2,
        "max_new_tokens": 6,
    }
    (theirs / "generation_config.json").write_text(json.dumps({**held, "eos_token_id": 1, "no_repeat_ngram_size": 3}))
    model, tokenizer = (
        transformers.AutoModelForSeq2SeqLM.from_pretrained(theirs),
        transformers.AutoTokenizer.from_pretrained(theirs),
    )
    ids = tokenizer("The quick fox", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        wanted = model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=3)[0]
    loaded = components.load(theirs)
    text = tokenizer.decode(wanted, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    # the forced tokens count as theirs: the first, and the last, which is no part of the text
    assert loaded.tokenizer.starts == [1, 0]
    assert loaded.generate("The quick fox", max_new_tokens=4) == text
    assert wanted[-1] == 1


def test_what_cannot_be_done_is_named_and_what_is_done_is_shown(llama, tmp_path, capsys):
    unknown = {"begin_suppress_tokens": [4], "bad_words_ids": [[3], [4, 5]], "forced_bos_token_id": 6, "min_new_tokens": 2}
    said = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "max_new_tokens": 33, **unknown}
    (llama / "generation_config.json").write_text(json.dumps(said))
    assert main(["import", str(llama), "--to", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    assert "sample: suppress_tokens ids=[3], temperature value=0.6, top_k k=50, top_p p=0.9; at most 33 new tokens" in told
    (line,) = [x for x in told.splitlines() if "left unread" in x]
    assert all(name in line for name in unknown)
    assert main(["show", f"recipe={tmp_path / 'run' / 'config.yaml'}"]) == 0
    shown_there = capsys.readouterr().out
    assert "temperature" in shown_there
    assert main(["generate", str(tmp_path / "run"), "--max-new-tokens", "1", "--prompt", "The"]) == 0


def test_export_says_how_the_model_writes_by_now():
    """Where a run's decoding has become another than that of the file that came along."""
    source = {"eos_token_id": 2, "do_sample": True, "temperature": 0.6, "top_k": 20, "max_length": 99}
    same = decoding_of(source, "f")[0]
    assert same is not None
    assert generation_of(same, source, {}) == (source, [])
    beam = {"name": "beam", "beam_size": 3, "samplers": [{"name": "no_repeat_ngram", "n": 2}]}
    held, unsaid = generation_of(beam, source, {})
    assert unsaid == []
    assert held == {
        **{"eos_token_id": 2, "max_length": 99, "do_sample": False, "num_beams": 3},
        **{"length_penalty": 1.0, "early_stopping": False, "no_repeat_ngram_size": 2},
    }
    assert generation_of({"name": "greedy"}, None, {"eos_token_id": 1}) == ({"eos_token_id": 1, "do_sample": False}, [])
    odd = {
        "name": "sample",
        "samplers": [{"name": "temperature", "value": 0.5}, "frequency", {"name": "repetition", "last": 4}],
    }
    assert generation_of(odd, None, {}) == (
        {"do_sample": True, "top_k": 0, "temperature": 0.5},
        ["the sampler frequency", "the sampler repetition"],
    )
    assert generation_of({"name": "speculative"}, None, {})[1] == ["decoding=speculative"]


@pytest.mark.parametrize("name", SAID)
def test_fields_and_node_are_inverse(name):
    node, left = decoding_of(SAID[name], "f")
    assert node is not None
    assert left == []
    fields, unsaid = fields_of(node)
    assert unsaid == []
    again, left = decoding_of(fields, "f")
    assert again is not None
    assert (fields_of(again), left) == ((fields, []), [])


@pytest.mark.parametrize(
    "said",
    [
        {"suppress_tokens": "all"},
        {"bad_words_ids": [[]]},
        {"bad_words_ids": [7]},
        {"suppress_tokens": [-1]},
        {"max_new_tokens": 2.5},
    ],
)
def test_ids_that_are_none_are_said(said):
    with pytest.raises(UserError, match=next(iter(said))):
        decoding_of(said, "f")
