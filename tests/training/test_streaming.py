"""Text while it comes equals the whole text, and costs what is new in it."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from components import build
from components.corpus.tokens import Tokens
from components.generation.streaming import Stream, should_stop, text_of

TEXTS = [
    "the tree stands under a river stone\n\n  walks, sings",
    "naïve Ünïcode 東京 Ελλάδα 👩‍🚀 e\u0301 and more",
    "a b c  d\ufffde f \x00 tree",
]
TRAINED = ("byte", "bpe", "char", "word", "wordpiece", "unigram")


def metaspace(byte_fallback: bool) -> Tokens:
    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=byte_fallback))
    core.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first")
    cut = [decoders.ByteFallback()] if byte_fallback else []
    core.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), *cut, decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    names = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256) if byte_fallback)]
    core.train_from_iterator(TEXTS[:1] * 30, trainers.BpeTrainer(vocab_size=400, special_tokens=names, show_progress=False))
    if byte_fallback:  # bytes are read from text, so they are none of the special tokens
        state = json.loads(core.to_str())
        state["added_tokens"] = state["added_tokens"][:3]
        core = Tokenizer.from_str(json.dumps(state))
    return Tokens(core, {"unk": "<unk>", "bos": "<s>", "endoftext": "</s>", "eos": "</s>"})


def tokenizer(name: str) -> Tokens:
    if name.startswith("metaspace"):
        return metaspace(name.endswith("bytes"))
    made = build("tokenizer", name)
    made.train(TEXTS * 3)
    return Tokens(made.core, made.roles)


ALL = (*TRAINED, "metaspace", "metaspace_bytes")


def streamed(tokens, prompt, new, stop=()):
    shown = []
    stream = Stream(tokens, (), shown.append, prompt, stop)
    for token in new:
        stream(torch.tensor([token]))
    return "".join(shown)


@pytest.mark.parametrize("name", ALL)
def test_pieces_are_the_whole_text(name):
    tokens = tokenizer(name)
    for text in TEXTS:
        ids = tokens.encode(text)
        for cut in range(0, len(ids), max(1, len(ids) // 7)):
            prompt, new = ids[:cut], ids[cut:]
            given = len(tokens.decode(prompt)) if prompt else 0
            whole = tokens.decode(ids)
            if prompt and not whole.startswith(tokens.decode(prompt)):
                continue  # cut within a character, as no prompt is
            shown = streamed(tokens, prompt, new)
            assert whole[given:].startswith(shown)
            assert len(whole) - given - len(shown) <= 1, "all but what may be a part of a character"


@pytest.mark.parametrize("name", ALL)
def test_a_stop_is_found_as_in_the_whole_text(name):
    tokens = tokenizer(name)
    ids = tokens.encode(TEXTS[0])
    for cut in (0, 1, 3):
        prompt, new = ids[:cut], ids[cut:]
        given = len(tokens.decode(prompt)) if prompt else 0
        whole = tokens.decode(ids)
        for at in range(given, len(whole) - 3, 5):
            stop = [whole[at : at + 3]]
            want = text_of(tokens, prompt, new, stop)
            assert streamed(tokens, prompt, new, stop) == want[given:]
            over = should_stop(tokens, stop, cut)
            first = next(n for n in range(1, len(new) + 1) if bool(over(torch.tensor([[*prompt, *new[:n]]]))[0]))
            assert text_of(tokens, prompt, new[:first], stop) == want, "the work stops where the text does"
            assert tokens.decode([*prompt, *new[: first - 1]]).find(stop[0], given) < 0


class Counting:
    """A tokenizer that counts the tokens that are decoded."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens, self.decoded = tokens, 0

    def decode(self, ids):
        self.decoded += len(ids)
        return self.tokens.decode(ids)


@pytest.mark.parametrize("ids", ["words", "half a character", "bytes of none"])
def test_the_work_is_linear_in_the_tokens(ids):
    tokens = tokenizer("byte")
    byte = tokens.encode("é")
    row = {"words": tokens.encode(TEXTS[0]), "half a character": [byte[0]], "bytes of none": [byte[1], *tokens.encode("a")]}[
        ids
    ]
    counts = []
    for n in (500, 4000):
        counting = Counting(tokens)
        stream = Stream(counting, (), lambda _: None, tokens.encode("the"), ("zzz",))
        for i in range(n):
            stream(torch.tensor([row[i % len(row)]]))
        counts.append(counting.decoded / n)
    assert counts[1] < 30
    assert counts[1] < 1.3 * counts[0] + 1


def test_what_begins_a_text_is_no_part_of_it():
    """A stop with a leading space: the first word of a text has none, one after a prompt has."""
    tokens = tokenizer("metaspace")
    word, bos = tokens.encode("tree"), tokens.specials["bos"]
    for given, said in (([], False), (tokens.encode("the"), True)):
        after = tokens.encode("the tree")[len(tokens.encode("the")) :]
        row = torch.tensor([[0, bos, *given, *(after if given else word)]])
        assert bool(should_stop(tokens, [" tree"], 2 + len(given))(row)[0]) is said
