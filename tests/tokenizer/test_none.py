"""The tokenizer of data without text: five special tokens, which a run saves and reads like any other."""

from __future__ import annotations

import copy
import pickle

from components import build
from components.corpus.tokens import read_tokenizer


def test_there_are_the_special_tokens_alone():
    tokenizer = build("tokenizer", "none")
    assert tokenizer.vocab_size == 5
    assert tokenizer.specials == {"unk": 0, "endoftext": 1, "bos": 2, "eos": 3, "pad": 4}
    assert tokenizer.encode("") == []
    assert tokenizer.encode("any text <|eos|>") == [0]
    assert tokenizer.encode_batch(["a", "b c"]) == [[0], [0]]
    assert tokenizer.decode(tokenizer.encode("any text")) != "any text"
    tokenizer.train(["text that it does not learn"])
    assert tokenizer.vocab_size == 5


def test_it_is_saved_read_copied_and_pickled(tmp_path):
    tokenizer = build("tokenizer", "none")
    tokenizer.save(tmp_path / "tokenizer.json")
    twins = [read_tokenizer(tmp_path), copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))]
    for twin in (*twins, build("tokenizer", "pretrained", path=str(tmp_path))):
        assert (twin.vocab_size, twin.specials) == (5, tokenizer.specials)
        assert twin.encode("text") == [0]
    assert tokenizer.fingerprint() == build("tokenizer", "none").fingerprint() != build("tokenizer", "byte").fingerprint()
