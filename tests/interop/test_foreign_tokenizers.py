"""Tokenizers of other makers give the ids that transformers gives, special tokens included, whatever files they came in."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec

import foreign_tokenizers as made
import pytest

from components.core.errors import UserError
from components.corpus.foreign import read_pretrained
from components.corpus.tokens import read_tokenizer

pytest.importorskip("transformers")

LAYOUTS = {
    "bytes": lambda f: made.byte_level(f, begins=False),
    "bytes that begin": lambda f: made.byte_level(f, begins=True),
    "metaspace": made.metaspace,
    "unigram": made.unigram,
    "wordpiece": made.wordpiece,
    "merges": made.merges,
    "sentencepiece bpe": lambda f: made.sentencepiece(f, "bpe"),
    "sentencepiece unigram": lambda f: made.sentencepiece(f, "unigram"),
    "ranks": made.ranks,
}
NEEDS = {"sentencepiece bpe": "sentencepiece", "sentencepiece unigram": "sentencepiece", "ranks": "tiktoken"}
BEGIN = {"bytes that begin": ["<s>"], "metaspace": ["<s>"], "wordpiece": ["[CLS]"], "sentencepiece bpe": ["<s>"]}
BEGIN["ranks"] = ["<|begin_of_text|>"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    known = {}

    def folder(name):
        if name in NEEDS and find_spec(NEEDS[name]) is None:
            pytest.skip(f"needs {NEEDS[name]}")
        if name not in known:
            known[name] = LAYOUTS[name](tmp_path_factory.mktemp("tokenizers") / "it")
        return known[name]

    return folder


def probes(theirs):
    roles = {role: getattr(theirs, f"{role}_token") or "" for role in ("bos", "eos", "pad", "unk")}
    return [p.format(**roles) if "{bos}" in p else p for p in made.PROBES]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ids_are_those_of_transformers(layout, folders):
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(folders(layout)), read_pretrained(folders(layout))
    for text in probes(theirs):
        assert ours.encode(text, special_tokens=True) == theirs(text)["input_ids"], text
    for text in made.LINES:
        ids = theirs(text, add_special_tokens=False)["input_ids"]
        assert ours.encode(text) == ids
        assert ours.decode(ids) == theirs.decode(ids, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_begins_a_text_follows_the_file(layout, folders):
    ours = read_pretrained(folders(layout))
    assert [ours.core.id_to_token(i) for i in ours.begins or ()] == BEGIN.get(layout, [])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_saved_and_read_again_it_is_the_same(layout, folders, tmp_path):
    ours = read_pretrained(folders(layout))
    ours.save(tmp_path / "tokenizer.json")
    again = read_tokenizer(tmp_path / "tokenizer.json")
    assert (again.roles, again.begins, again.vocab_size, again.files) == (ours.roles, ours.begins, ours.vocab_size, again.files)
    for text in made.PROBES:
        assert again.encode(text, special_tokens=True) == ours.encode(text, special_tokens=True)


def test_ordinary_text_never_spells_a_special_token(folders):
    ours = read_pretrained(folders("bytes"))
    assert ours.specials["eos"] not in ours.encode("a</s>b")
    assert ours.specials["eos"] in ours.encode("a</s>b", special_tokens=True)
    assert ours.specials["eos"] not in ours.encode("a</s>b")  # the other way of reading leaves nothing behind


def test_qwens_rank_file_divides_numbers_into_digits(tmp_path):
    (tmp_path / "qwen.tiktoken").write_bytes(made.rank_file())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "o.tiktoken").write_bytes(made.rank_file())
    ours, other = read_pretrained(tmp_path / "qwen.tiktoken"), read_pretrained(tmp_path / "other")
    assert [ours.decode([i]) for i in ours.encode("12345")] == list("12345")
    assert len(other.encode("12345")) < 5
    assert ours.decode(ours.encode(made.PROBES[10])) == made.PROBES[10]


def test_tiktoken_itself_agrees(tmp_path):
    tiktoken = pytest.importorskip("tiktoken")
    from components.corpus.foreign import WORDS

    (tmp_path / "o.tiktoken").write_bytes(made.rank_file())
    lines = [line.split() for line in made.rank_file().splitlines()]
    from base64 import b64decode

    theirs = tiktoken.Encoding("o", pat_str=WORDS, mergeable_ranks={b64decode(t): int(r) for t, r in lines}, special_tokens={})
    ours = read_pretrained(tmp_path)
    for text in made.PROBES:
        assert ours.encode(text) == theirs.encode(text, disallowed_special=())


@pytest.mark.parametrize("text", ["YQ== 0\nYg==\n", "YQ== 0\n???? 1\n", "YQ== 0\nYg== x\n"])
def test_a_damaged_rank_file_is_one_line(text, tmp_path):
    (tmp_path / "o.tiktoken").write_text(text)
    with pytest.raises(UserError, match="no rank file of tiktoken"):
        read_pretrained(tmp_path)


def test_without_transformers_the_message_says_what_to_install(folders, monkeypatch):
    folder = folders("wordpiece")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"vocab\.txt.*interop"):
        read_pretrained(folder)


def test_a_broken_sentencepiece_file_is_one_line(tmp_path):
    pytest.importorskip("sentencepiece")
    (tmp_path / "spiece.model").write_bytes(b"\x00\x01nothing")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer"}))
    with pytest.raises(UserError, match=r"transformers does not read its tokenizer \(spiece\.model\)"):
        read_pretrained(tmp_path)


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_a_tokenizer_that_is_no_tokenizer_json_says_so(tmp_path):
    pytest.importorskip("sentencepiece")
    with pytest.raises(UserError, match=r"vocab\.json, source\.spm.*no form as a tokenizer\.json"):
        read_pretrained(made.marian(tmp_path / "marian"))
