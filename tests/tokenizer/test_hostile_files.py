"""Files of a tokenizer that anybody may have written: one line that names the file, whatever they hold."""

from __future__ import annotations

import base64
import json
import os

import pytest

from components import build
from components.core.errors import UserError
from components.corpus.foreign import read_pretrained
from components.corpus.tokens import Tokens, read_tokenizer


@pytest.fixture
def folder(tmp_path):
    made = build("tokenizer", "bpe", vocab_size=300)
    made.train(["the tree stands under a stone"] * 4)
    made.save(tmp_path / "tokenizer.json")
    return tmp_path


def template(*pieces):
    return {"type": "TemplateProcessing", "single": list(pieces), "pair": [], "special_tokens": {}}


def edited(folder, **changes):
    file = folder / "tokenizer.json"
    held = json.loads(file.read_text())
    held.update(changes)
    file.write_text(json.dumps(held))


BROKEN = {
    "an id of 2^31": lambda f: edited(
        f, model={**json.loads((f / "tokenizer.json").read_text())["model"], "vocab": {"<|unk|>": 0, "x": 2**31}, "merges": []}
    ),
    "a post-processor with a token it does not know": lambda f: edited(
        f, post_processor=template({"SpecialToken": {"id": "<none>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}})
    ),
    "nested deeply": lambda f: (f / "tokenizer.json").write_text("[" * 100_000),
    "no tokenizer": lambda f: (f / "tokenizer.json").write_text("{}"),
    "no UTF-8": lambda f: (f / "tokenizer.json").write_bytes(b"\xff\xfe"),
    "a pipe": lambda f: ((f / "tokenizer.json").unlink(), os.mkfifo(f / "tokenizer.json")),
}
BESIDE = {
    "100000 [": "[" * 100_000,
    "a list": "[]",
    "added_tokens_decoder 10^9": '{"added_tokens_decoder": {"1000000000": {"content": "<x>"}}}',
    "added_tokens_decoder a list": '{"added_tokens_decoder": ["<x>"]}',
    "added_tokens_decoder of names": '{"added_tokens_decoder": {"x": {"content": "<x>"}}}',
    "extra tokens a number": '{"extra_special_tokens": 7}',
}
OWN = [
    "[]",
    '{"vocab_size": "x"}',
    '{"vocab_size": 1000000000000}',
    '{"vocab_size": -5}',
    '{"begins": "a text"}',
    '{"ends": [-1]}',
]


def said_of(where):
    with pytest.raises(UserError) as caught:
        read_pretrained(where)
    said = str(caught.value)
    assert len(said) < 400
    assert "\n" not in said
    return said


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_tokenizer_is_one_line(folder, name):
    BROKEN[name](folder)
    assert "tokenizer.json" in said_of(folder / "tokenizer.json")


@pytest.mark.parametrize("name", BESIDE)
def test_what_lies_beside_it_is_checked(folder, name):
    (folder / "tokenizer_config.json").write_text(BESIDE[name])
    assert "tokenizer_config.json" in said_of(folder)


@pytest.mark.parametrize("held", OWN)
def test_what_we_wrote_beside_it_is_checked_too(folder, held):
    (folder / "components.json").write_text(held)
    assert "components.json" in said_of(folder)


@pytest.mark.parametrize("rank", ["1000000000000000000", "-1"])
def test_ranks_are_ids(folder, rank):
    (folder / "tokenizer.json").unlink()
    (folder / "x.tiktoken").write_bytes(
        base64.b64encode(b"a") + b" 0\n" + base64.b64encode(b"b") + b" " + rank.encode() + b"\n"
    )
    assert "x.tiktoken" in said_of(folder)


def test_half_a_character_is_no_text(folder):
    tokens = read_tokenizer(folder)
    for encode in (tokens.encode, tokens.encode_whole, tokens.encode_marked):
        with pytest.raises(UserError, match="U\\+D800 at character 3"):
            encode("ab\ud800")


def test_a_token_without_a_row_is_named(folder):
    held = read_tokenizer(folder)
    core = held.core
    rows = core.get_vocab_size()
    core.add_special_tokens(["<more>"])
    tokens = Tokens(core, held.roles, {"components.json": json.dumps({"vocab_size": rows})})
    tokens.need_rows(range(rows), "here")
    with pytest.raises(
        UserError, match=rf"^here: holds the token '<more>' \(id {rows}\), and the model has rows for ids below {rows} alone"
    ):
        tokens.need_rows([1, rows], "here")
