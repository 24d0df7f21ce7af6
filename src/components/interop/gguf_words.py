"""How llama.cpp divides text, and how it names the ways before byte-level BPE joins it (``tokenizer.ggml.pre``).

Its own converter knows a way by the ids of one long text, so only by a published vocabulary. Here the way itself is compared, whatever was learned over it.
The names, and what each does: github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from components.core.errors import UserError
from components.corpus.foreign import WORDS

Held: TypeAlias = Mapping[str, Any]  # a tokenizer.json, a part of it, or the keys of a GGUF file, as they were read
Steps = tuple[str, ...]  # patterns, and "digits", "words" (GPT-2's pattern) and "bytes"

LLAMA3 = WORDS
QWEN2 = WORDS.replace("{1,3}", "")
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE, _SIGNS = r"[^\r\n\p{L}\p{N}]?", r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
TEKKEN = rf"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*|\p{{N}}{_SIGNS}"
GPT4O = rf"{_BEFORE}{_UPPER}*{_LOWER}+{_SHORT}|{_BEFORE}{_UPPER}+{_LOWER}*{_SHORT}|\p{{N}}{{1,3}}{_SIGNS}"

# {name: (the steps, whether a word that is a token is taken whole, whatever the merges say)}
WAYS: dict[str, tuple[Steps, bool]] = {
    "gpt-2": (("words", "bytes"), False),
    "smollm": (("digits", "words", "bytes"), False),
    "llama-bpe": ((LLAMA3, "bytes"), True),
    "dbrx": ((LLAMA3, "bytes"), False),
    "qwen2": ((QWEN2, "bytes"), False),
    "tekken": ((TEKKEN, "bytes"), True),
    "gpt-4o": ((GPT4O, "bytes"), False),
}
# other names for the same
ALIASES = {
    "gpt-2": ("phi-2", "mpt", "olmo", "jais", "trillion", "mellum", "exaone4", "granite-docling"),
    "smollm": ("starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"),
    "llama-bpe": ("llama3", "llama-v3", "falcon3", "pixtral"),
    "dbrx": ("smaug-bpe",),
    "qwen2": ("deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open"),
    "gpt-4o": ("llama4", "kanana2", "minimax-m2"),
}
NAMES = {alias: name for name, aliases in ALIASES.items() for alias in aliases} | {name: name for name in WAYS}
# a space stands before a text, and is written as a sign
SPACES = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]


def divided(held: Held, values: Held, where: str) -> Held:
    """A tokenizer.json that transformers made of a file's keys, with llama.cpp's division of text.

    transformers knows fewer ways, and takes GPT-2's for the others; of SentencePiece it puts no space before a text that begins with one.

    Raises:
        UserError: the file names a way that is not known here.
    """
    model, way = values.get("tokenizer.ggml.model"), values.get("tokenizer.ggml.pre")
    if model == "llama":
        prefix = values.get("tokenizer.ggml.add_space_prefix", True)
        normalizer = {"type": "Sequence", "normalizers": SPACES} if prefix else SPACES[1]
        return {**held, "normalizer": normalizer, "pre_tokenizer": None}
    if model != "gpt2" or way is None:
        return held
    if way not in NAMES:
        raise UserError(where, f"tokenizer.ggml.pre={way!r:.40} is not read", "put its tokenizer.json beside it")
    steps, taken_whole = WAYS[NAMES[way]]
    return {**held, "pre_tokenizer": _node(steps), "model": {**held["model"], "ignore_merges": taken_whole}}


def _node(steps: Steps) -> Held:
    """The ``pre_tokenizer`` of tokenizer.json with these steps."""
    in_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": "words" in steps}
    made: list[Held] = []
    for step in steps:
        if step == "digits":
            made.append({"type": "Digits", "individual_digits": True})
        elif step not in ("words", "bytes"):
            made.append({"type": "Split", "pattern": {"Regex": step}, "behavior": "Isolated", "invert": False})
    return {"type": "Sequence", "pretokenizers": [*made, in_bytes]}


def name_of(held: Held) -> str | None:
    """llama.cpp's name of the way in a tokenizer.json of byte-level BPE; None if it has none."""
    found = steps_of(held.get("pre_tokenizer")), bool(held["model"].get("ignore_merges"))
    return next((name for name, way in WAYS.items() if way == found), None)


def steps_of(node: Held | None) -> Steps | None:
    """The steps of a ``pre_tokenizer`` of tokenizer.json; None if one of them is none of ours."""
    if node is None:
        return ()
    kind = node.get("type")
    if kind == "Sequence":
        made = [steps_of(inner) for inner in node["pretokenizers"]]
        return None if None in made else tuple(step for inner in made for step in inner or ())
    if kind == "Digits" and node.get("individual_digits"):
        return ("digits",)
    if kind == "ByteLevel" and not node.get("add_prefix_space"):
        return ("words", "bytes") if node.get("use_regex", True) else ("bytes",)
    # what lies between the matches of such a pattern is nothing, so to keep the matches is to cut there
    if kind == "Split" and (node.get("behavior"), bool(node.get("invert"))) in {("Isolated", False), ("Removed", True)}:
        pattern = node["pattern"].get("Regex")
        return None if pattern is None else (pattern.replace("{1,1}", ""),)
    return None
