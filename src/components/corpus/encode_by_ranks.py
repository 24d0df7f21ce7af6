"""Byte-level BPE by ``tiktoken``, which takes a fifth of the time of the ``tokenizers`` library, wherever the ids are the same for every text.

The library merges the neighbours that stand first in its list of merges; tiktoken those whose joined bytes have the lowest id. Both give the same
if the ids of what is merged grow along the list, and if each token is what the merges make of its own bytes. For suppose that tiktoken joins x and y
where the library has no such merge. Nothing has crossed the border of x and y until then, so the merges make x, y of these bytes
also where they stand alone; and then they do not make the token xy, which the second condition excludes. Both are looked at here, for each
tokenizer. Words are cut by the same regular expression in two engines: only those are taken that the tests compare at every Unicode character.

https://github.com/openai/tiktoken
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from components.corpus.foreign import printable_bytes
from components.corpus.tokens import Tokens

if TYPE_CHECKING:
    import tiktoken

Held = dict[str, Any]  # an object of a tokenizer.json

LAST = r"|\s+(?!\S)|\s+"  # of each expression: what looks ahead
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+" + LAST
# those of files that cut by an expression of their own: Llama 3's, and Qwen 2's
CUTS = tuple(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+" + LAST
    for digits in ("{1,3}", "")
)
PIECE = 2**20  # characters of a text above which the library is asked: tiktoken's engine keeps a place for each


def encoder_by_ranks(tokenizer: Tokens, made: Held) -> Callable[[list[str]], Sequence[Sequence[int]]] | None:
    """What encodes many texts, or None where tiktoken is not installed or could give other ids. ``made``: the tokenizer's file."""
    engine = _engine(json.dumps(made, sort_keys=True))
    if engine is None:
        return None

    def encode(texts: list[str]) -> Sequence[Sequence[int]]:
        # tiktoken replaces what is no character, without a word; the library refuses it
        if any(len(text) > PIECE or not _is_utf8(text) for text in texts):
            return tokenizer.encode_batch(texts)
        threads = int(os.environ.get("RAYON_NUM_THREADS", 0)) or os.cpu_count() or 1  # as the library has it
        if threads == 1 or len(texts) == 1:
            return [engine.encode_ordinary(text) for text in texts]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(engine.encode_ordinary, texts))

    return encode


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf8")
    except UnicodeEncodeError:
        return False
    return True


@functools.lru_cache(maxsize=2)  # each stretch of a corpus asks anew
def _engine(file: str) -> tiktoken.Encoding | None:
    made: Held = json.loads(file)
    model, pattern = made["model"], _pattern(made.get("pre_tokenizer") or {})
    if pattern is None or not _plain(model):
        return None
    try:
        import tiktoken
    except ImportError:
        return None
    named = {token["content"] for token in made["added_tokens"]}
    ids = {token: i for token, i in model["vocab"].items() if token not in named}
    if not _grows(model, ids) or not _reached(made, ids):
        return None
    byte_of = {shown: byte for byte, shown in printable_bytes().items()}
    if not all(set(token) <= byte_of.keys() for token in ids) or not byte_of.keys() <= ids.keys():
        return None
    ranks = {bytes(byte_of[c] for c in token): i for token, i in ids.items()}
    # its engine asks alternatives one by one where one of them looks ahead: in a group those that do not are one question, and a fifth faster
    grouped = f"(?:{pattern.removesuffix(LAST)}){LAST}"
    return tiktoken.Encoding("of a file", pat_str=grouped, mergeable_ranks=ranks, special_tokens={})


def _pattern(before: Held) -> str | None:
    """The expression that cuts words, if it is one that both engines are known to read alike."""
    if before.get("type") == "ByteLevel":
        return GPT2 if before.get("use_regex", True) and not before.get("add_prefix_space") else None
    steps = before.get("pretokenizers") or []
    if before.get("type") != "Sequence" or [step.get("type") for step in steps] != ["Split", "ByteLevel"]:
        return None
    cut, last = steps
    found = (cut.get("pattern") or {}).get("Regex")
    whole = cut.get("behavior") == "Isolated" and not cut.get("invert")
    if found in CUTS and whole and not last.get("use_regex", True) and not last.get("add_prefix_space"):
        return found
    return None


def _plain(model: Held) -> bool:
    """Whether nothing but merges makes tokens of bytes."""
    marks = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    return not any(model.get(mark) for mark in marks)


def _grows(model: Held, ids: dict[str, int]) -> bool:
    """Whether the ids of merged tokens grow along the list of merges, each merge making another token, and come after those of the bytes."""
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    made = [ids.get("".join(pair), -1) for pair in pairs]
    bytes_ = [i for token, i in ids.items() if len(token) == 1]
    return all(a < b for a, b in zip([max(bytes_, default=-1), *made], made)) and len(made) + len(bytes_) == len(ids)


def _reached(made: Held, ids: dict[str, int]) -> bool:
    """Whether the merges make each token of its own bytes."""
    model = {**made["model"], "ignore_merges": False}
    alone = Tokenizer.from_str(json.dumps({**made, "model": model})).model
    return all([t.id for t in alone.tokenize(token)] == [i] for token, i in ids.items())
