"""What every registered tokenizer keeps: its ids come back from the file, text comes back or the lack shows, no text makes a special token."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components import build
from components.core import registry
from components.corpus.tokens import ROLES, read_tokenizer

# "none" has no text to give back (test_none.py), the others are read from files
TRAINED = [name for name in registry.names("tokenizer") if name not in ("pretrained", "of_run", "none")]
TEXTS = [f"def f{i}(x):\n    return x + {i}  # the quick brown fox, été\n" for i in range(60)]
PROBE = "Ünïcode, tabs\tand\n\n  spaces; 東京 Ελλάδα 👩‍🚀 \x00 <|endoftext|> def f(x): return x\n"
STRANGE = [
    "",
    " ",
    "\n\n\t  \n",
    "\x00\x01 NUL",
    "👩‍🚀🇫🇷 emoji",
    "日本語とРусский и עברית",
    "e\u0301 é ﬁ",
    "\ufeffBOM\u2028",
    "x" * 300,
    PROBE,
    *(f"<|{role}|>" for role in ROLES),
    "a<|endoftext|>b <|pad|>",
]


def options(name: str) -> dict:
    return {"vocab_size": 320} if "vocab_size" in registry.entry("tokenizer", name).signature.options else {}


@pytest.fixture(scope="module")
def trained():
    made = {}
    for name in TRAINED:
        made[name] = build("tokenizer", name, **options(name))
        made[name].train(iter(TEXTS))
    return made


def test_there_are_tokenizers():
    assert set(TRAINED) >= {"byte", "char", "word", "bpe", "unigram", "wordpiece"}


@pytest.mark.parametrize("name", TRAINED)
def test_text_comes_back_or_the_lack_shows(trained, name):
    tokenizer = trained[name]
    broken = [t for t in STRANGE if tokenizer.decode(tokenizer.encode(t)) != t]
    if "round_trip" in getattr(type(tokenizer), "lacks", ()):
        assert broken, "declares a lack of round_trip that does not show"
    else:
        assert not broken
        assert tokenizer.decode(tokenizer.encode(PROBE)) == PROBE


@pytest.mark.parametrize(
    "name", [n for n in TRAINED if "round_trip" not in registry.entry("tokenizer", n).signature.declared.get("lacks", ())]
)
def test_any_text_comes_back(trained, name):
    tokenizer = trained[name]

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def check(text: str) -> None:
        assert tokenizer.decode(tokenizer.encode(text)) == text

    check()


@pytest.mark.parametrize("name", TRAINED)
def test_text_seen_in_training_comes_back_but_for_spaces(trained, name):
    tokenizer = trained[name]
    expected = TEXTS[0] if name != "word" else " the quick brown fox, été\n"
    back = tokenizer.decode(tokenizer.encode(expected))
    if name == "wordpiece":
        back, expected = "".join(back.split()), "".join(expected.split())
    assert back == expected


@pytest.mark.parametrize("name", TRAINED)
def test_ordinary_text_never_makes_a_special_token(trained, name):
    tokenizer = trained[name]
    special = {i for role, i in tokenizer.specials.items() if role != "unk"}
    for text in STRANGE:
        assert not special & set(tokenizer.encode(text))
    unknown = tokenizer.specials["unk"]
    assert all(unknown not in tokenizer.encode(t) for t in TEXTS) or name == "word"


@pytest.mark.parametrize("name", TRAINED)
def test_specials_are_the_first_ids_and_decode_drops_none(trained, name):
    tokenizer = trained[name]
    assert tokenizer.specials == {"unk": 0, "endoftext": 1, "bos": 2, "eos": 3, "pad": 4}
    text = tokenizer.decode([1, *tokenizer.encode(" return x"), 3, 4])
    assert "".join(text.split()) == "<|endoftext|>returnx<|eos|><|pad|>"


@pytest.mark.parametrize("name", TRAINED)
def test_an_id_that_there_is_not_is_refused(trained, name):
    for wrong in (trained[name].vocab_size, -100):
        with pytest.raises(ValueError, match=f"id {wrong} is none"):
            trained[name].decode([5, wrong])


@pytest.mark.parametrize("name", TRAINED)
def test_file_gives_identical_ids(trained, name, tmp_path):
    tokenizer = trained[name]
    tokenizer.save(tmp_path / "new" / "tokenizer.json")
    read = read_tokenizer(tmp_path / "new" / "tokenizer.json")
    texts = [*STRANGE, *TEXTS]
    expected = [tokenizer.encode(t) for t in texts]
    assert [read.encode(t) for t in texts] == expected
    assert read.encode_batch(texts) == tokenizer.encode_batch(texts) == expected
    assert [read.decode(ids) for ids in expected] == [tokenizer.decode(ids) for ids in expected]
    assert (read.vocab_size, read.specials) == (tokenizer.vocab_size, tokenizer.specials)
    assert max(max(ids, default=0) for ids in expected) < read.vocab_size
    again = build("tokenizer", "pretrained", path=str(tmp_path / "new"))
    assert again.encode_batch(texts) == expected


TRAIN = """
import hashlib, sys
from components import build
texts = [f"def f{i}(x):\\n    return x + {i}  # the quick brown fox, été\\n" for i in range(60)]
for spec in sys.argv[1:]:
    name, *size = spec.split("=")
    t = build("tokenizer", name, **({"vocab_size": int(size[0])} if size else {}))
    t.train(texts)
    print(name, hashlib.sha256(t.core.to_str().encode()).hexdigest())
"""


def test_two_trainings_in_different_processes_agree():
    """The library's own Unigram and WordPiece differ from run to run; ours are made to agree."""
    specs = [f"{n}=320" if options(n) else n for n in TRAINED]
    runs = set()
    for seed in "0", "1":
        env = {**os.environ, "PYTHONHASHSEED": seed}
        runs.add(
            subprocess.run([sys.executable, "-c", TRAIN, *specs], capture_output=True, text=True, check=True, env=env).stdout
        )
    assert len(runs) == 1
    assert len(runs.pop().splitlines()) == len(TRAINED)


@pytest.mark.parametrize("name", [n for n in TRAINED if options(n)])
def test_vocab_size_is_kept(name):
    tokenizer = build("tokenizer", name, vocab_size=300)
    tokenizer.train(TEXTS)
    assert tokenizer.vocab_size <= 300
    with pytest.raises(ValueError, match="vocab_size=5 is too small"):
        build("tokenizer", name, vocab_size=5)


@pytest.mark.parametrize("name", [n for n in TRAINED if n != "byte"])
def test_untrained_says_so(name):
    tokenizer = build("tokenizer", name, **options(name))
    with pytest.raises(RuntimeError, match="not trained yet"):
        _ = tokenizer.vocab_size
    for use in (lambda: tokenizer.encode("a"), lambda: tokenizer.encode_batch(["a"]), lambda: tokenizer.decode([5])):
        with pytest.raises(RuntimeError, match="not trained yet"):
            use()
    assert not hasattr(tokenizer, "something_else")


@pytest.mark.parametrize("name", [n for n in TRAINED if n != "byte"])
def test_an_untrained_one_is_copied_and_pickled_with_its_options(name):
    tokenizer = build("tokenizer", name, **options(name))
    for twin in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert type(twin) is type(tokenizer)
        assert twin.fingerprint() == tokenizer.fingerprint()
        twin.train(TEXTS)
        assert twin.decode(twin.encode("def")) == "def"
    with pytest.raises(RuntimeError, match="not trained yet"):
        _ = tokenizer.vocab_size


def test_fingerprints_tell_options_apart():
    prints = {build("tokenizer", "bpe", vocab_size=v, min_frequency=f).fingerprint() for v in (300, 400) for f in (1, 2)}
    assert len(prints) == 4
    assert build("tokenizer", "bpe").fingerprint() == build("tokenizer", "bpe").fingerprint()
    assert build("tokenizer", "char").fingerprint() != build("tokenizer", "byte").fingerprint()
