"""How the ids of many texts are found from a tokenizer's file: by the library, directly where a byte or a character is a token, or by ``tiktoken``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from components.corpus.encode_by_ranks import Held, encoder_by_ranks
from components.corpus.foreign import printable_bytes
from components.corpus.tokens import Tokens

Encode = Callable[[list[str]], Sequence[Sequence[int]]]


def encoder_of(tokenizer: Tokens) -> Encode:
    """The fastest way that gives the ids of ``tokenizer.encode_batch``: of bytes and characters the library would make objects, one by one."""
    made: dict[str, Any] = json.loads(tokenizer.core.to_str())
    if made.get("normalizer") or not all(t["special"] for t in made["added_tokens"]):
        return tokenizer.encode_batch
    model, before = made["model"], made.get("pre_tokenizer") or {}
    if model["type"] == "BPE" and model["merges"] and (ranked := encoder_by_ranks(tokenizer, made)) is not None:
        return ranked
    if model["type"] == "BPE" and not model["merges"]:
        return _of_bytes(model, before) or tokenizer.encode_batch
    if model["type"] == "WordLevel":
        return _of_characters(model, before) or tokenizer.encode_batch
    return tokenizer.encode_batch


def _of_bytes(model: Held, before: Held) -> Encode | None:
    """Where each byte is a token, and nothing is merged."""
    plain = before.get("type") == "ByteLevel" and not before.get("add_prefix_space")
    ids = [model["vocab"].get(shown, -1) for _, shown in sorted(printable_bytes().items())]
    if not plain or min(ids) < 0 or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return None
    return lambda texts: [[ids[b] for b in text.encode("utf8")] for text in texts]


def _of_characters(model: Held, before: Held) -> Encode | None:
    """Where each character is a token, or the unknown one."""
    alone = (
        before.get("type") == "Split" and before.get("pattern") == {"Regex": r"[\s\S]"} and before.get("behavior") == "Isolated"
    )
    ids: dict[str, int] = model["vocab"]
    unknown = ids.get(model["unk_token"], -1)
    if not alone or before.get("invert") or unknown < 0:
        return None
    return lambda texts: [[ids.get(c, unknown) for c in text] for text in texts]
