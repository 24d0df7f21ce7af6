"""How llama.cpp names the ways in which text is divided before byte-level BPE joins it (``tokenizer.ggml.pre``).

Its own converter knows a way by the ids of one long text, so only by a published vocabulary. Here the way itself is compared, whatever was learned over it.
The names, and what each does: github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.corpus.foreign import WORDS

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


def name_of(held: Mapping[str, Any]) -> str | None:
    """llama.cpp's name of the way in a tokenizer.json of byte-level BPE; None if it has none."""
    found = steps_of(held.get("pre_tokenizer")), bool(held["model"].get("ignore_merges"))
    return next((name for name, way in WAYS.items() if way == found), None)


def steps_of(node: Mapping[str, Any] | None) -> Steps | None:
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
