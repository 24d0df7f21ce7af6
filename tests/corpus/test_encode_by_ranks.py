"""tiktoken gives the ids of the tokenizers library, at every Unicode character and on hard text; where it might not, it is not asked."""

from __future__ import annotations

import json
import random
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from components import build
from components.core.errors import UserError
from components.corpus import encode_by_ranks
from components.corpus.encode_by_ranks import CUTS, encoder_by_ranks
from components.corpus.encoders import encoder_of
from components.corpus.tokens import Tokens
from components.parts.tokenizer._base import SPECIALS, alphabet

pytest.importorskip("tiktoken")
WORDS = [
    "the",
    "cat's",
    "1234",
    "ＡＢＣ",
    "naïve",
    "日本語",
    "\t\n\r\n",
    "",
    "def",
    "f(x):",
    "#",
    "ünï\n",
    "don't",
    "DON'T",
    "it'ſ",
    "𝔘𝔫𝔦",
]
WORDS += ["a\u0301", "\u200b\u00a0\u3000", "١٢٣", "'''", "    "]
KINDS = ("own", *range(len(CUTS)))


def text_of(size, seed=0):
    rng = random.Random(seed)
    pieces = [*WORDS, " ", "  ", "\n", "", "'", "\x00", "<|endoftext|>"]
    return "".join(rng.choice(pieces) + rng.choice([" ", "", " ", "\n"]) for _ in range(size))


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    texts = [text_of(3000, 1), (encode_by_ranks.__doc__ or "") * 3]
    if request.param == "own":
        made = build("tokenizer", "bpe", vocab_size=700)
        made.train(texts)
        return made
    core = Tokenizer(models.BPE(ignore_merges=request.param == 0))
    split = pre_tokenizers.Split(Regex(CUTS[request.param]), "isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=list(SPECIALS), initial_alphabet=alphabet(), show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    return Tokens(core, {"endoftext": SPECIALS[0]})


def ranked(tokenizer):
    found = encoder_by_ranks(tokenizer, json.loads(tokenizer.core.to_str()))
    assert found is not None
    return found


def same(tokenizer, texts):
    return ranked(tokenizer)(texts) == tokenizer.encode_batch(texts)


def test_it_is_what_a_corpus_is_encoded_by(tokenizer, monkeypatch):
    def refused(_):
        raise AssertionError("the library is not asked")

    expected = tokenizer.encode_batch([text_of(50)])
    monkeypatch.setattr(tokenizer, "encode_batch", refused)
    assert encoder_of(tokenizer)([text_of(50)]) == expected


def test_what_does_not_look_ahead_is_one_question(tokenizer):
    """To the engine, whose alternatives cost a start each."""
    made = json.loads(tokenizer.core.to_str())
    pattern = encode_by_ranks._engine(json.dumps(made, sort_keys=True))._pat_str
    (first,) = re.findall(r"^\(\?:(.*)\)" + re.escape(encode_by_ranks.LAST) + "$", pattern)
    assert first + encode_by_ranks.LAST in (encode_by_ranks.GPT2, *encode_by_ranks.CUTS)


def test_every_character_is_cut_alike(tokenizer):
    """Each assigned character, and every 16th code point, between letters, digits, blanks, quotes and itself. (All code points agreed when this was written.)"""
    characters = [chr(c) for c in range(0x110000) if c % 16 == 0 or unicodedata.category(chr(c)) not in ("Cn", "Co", "Cs")]
    characters = [c for c in characters if not "\ud800" <= c <= "\udfff"]
    texts = [
        "|".join(f"a{c}b {c}1 {c}{c}  {c}.\n'{c} " for c in characters[start : start + 256])
        for start in range(0, len(characters), 256)
    ]
    found = ranked(tokenizer)(texts)
    wrong = [hex(ord(t[1])) for t, a, b in zip(texts, found, tokenizer.encode_batch(texts)) if a != b]
    assert not wrong  # the first of 256 characters each


def test_a_megabyte_of_hard_text(tokenizer):
    assert same(tokenizer, [text_of(2000, seed) for seed in range(60)])
    assert same(tokenizer, ["", " ", "a" * 50_000, " " * 50_000, "\n \n" * 20_000, "é" * 50_000, "'s" * 20_000])


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(st.text(max_size=60), max_size=5))
def test_any_text(tokenizer, texts):
    assert same(tokenizer, texts)


def test_what_is_no_character_is_refused_as_ever(tokenizer):
    with pytest.raises((UserError, TypeError, UnicodeError)) as by_library:
        tokenizer.encode_batch(["a\ud800b"])
    with pytest.raises(by_library.type):
        ranked(tokenizer)(["a\ud800b"])


def test_a_very_long_text_goes_to_the_library(tokenizer, monkeypatch):
    monkeypatch.setattr(encode_by_ranks, "PIECE", 10)
    assert ranked(tokenizer)(["a longer text"]) == tokenizer.encode_batch(["a longer text"])


def without(made, **changes):
    return {**made, "model": {**made["model"], **changes}}


def test_where_ids_might_differ_it_is_not_asked(tokenizer):
    made = json.loads(tokenizer.core.to_str())
    merges, vocab = made["model"]["merges"], made["model"]["vocab"]

    def refused(file):
        return encoder_by_ranks(tokenizer, file) is None

    assert not refused(made)
    assert refused(without(made, merges=[merges[1], merges[0], *merges[2:]]))  # ids that do not grow
    assert refused(without(made, merges=merges[:-1]))  # a token that no merge makes
    assert refused(without(made, merges=[*merges, merges[0]]))
    assert refused(without(made, dropout=0.1))
    assert refused(without(made, end_of_word_suffix="</w>"))
    assert refused({**made, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}})
    assert refused({**made, "pre_tokenizer": {"type": "Whitespace"}})
    assert refused(without(made, vocab={**vocab, "€": len(vocab)}))


def test_a_token_that_its_own_bytes_do_not_give_is_found():
    """b and c merge before a and b, so that ab c is never there to be merged: tiktoken would give abc for a, bc."""
    names = {s: i for i, s in enumerate([*alphabet(), "bc", "ab", "abc"])}
    core = Tokenizer(models.BPE(vocab=names, merges=[("b", "c"), ("a", "b"), ("ab", "c")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens = Tokens(core, {})
    assert [core.id_to_token(i) for i in tokens.encode("abc")] == ["a", "bc"]
    assert encoder_by_ranks(tokens, json.loads(core.to_str())) is None


def test_without_the_package_the_library_encodes(tokenizer, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tiktoken", None)
    encode_by_ranks._engine.cache_clear()
    try:
        assert encoder_by_ranks(tokenizer, json.loads(tokenizer.core.to_str())) is None
        assert list(encoder_of(tokenizer)(["as ever"])[0]) == tokenizer.encode("as ever")
    finally:
        encode_by_ranks._engine.cache_clear()
