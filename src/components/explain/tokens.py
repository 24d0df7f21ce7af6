"""Tokens for people: how each id is shown, and what a prompt with masks, or a row of numbers, means."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from components.core.errors import UserError

MASK = "[MASK]"


class Words:
    """How ids are shown.

    Args:
        tokenizer: None where the model reads numbers.
        names: {id: name}, which come before what the tokenizer says.
    """

    def __init__(self, tokenizer: Any, names: dict[int, str] | None = None) -> None:
        self.tokenizer, self.names = tokenizer, dict(names or {})
        self.special = {} if tokenizer is None else {i: f"<{role}>" for role, i in tokenizer.specials.items()}

    def text(self, i: int) -> str:
        if i in self.names:
            return self.names[i]
        if i in self.special:
            return self.special[i]
        return str(i) if self.tokenizer is None else _text(self.tokenizer, i)

    def is_special(self, i: int) -> bool:
        return i in self.special or i in self.names


@lru_cache(maxsize=65536)
def _text(tokenizer: Any, i: int) -> str:
    if i >= tokenizer.vocab_size:
        return f"<{i}>"
    raw = tokenizer.core.id_to_token(i)
    try:
        text = tokenizer.decode([i])
    except ValueError:
        return f"<{i}>"
    if "\ufffd" in text and raw:
        known = _bytes()
        if all(c in known for c in raw):  # a part of a character: its bytes
            return "".join(f"<{known[c]:02X}>" for c in raw)
    if any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in text):
        return "".join(f"<{ord(c):02X}>" if ord(c) < 32 or 127 <= ord(c) < 160 else c for c in text)
    if raw and raw.startswith("\u2581") and not text.startswith(" "):
        return f" {text}"  # SentencePiece's space, which decoding drops at the beginning of a text
    if not text and raw:
        return raw
    return text


@lru_cache(maxsize=1)
def _bytes() -> dict[str, int]:
    """The characters that byte-level tokenizers write bytes with (GPT-2's table)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in shown}
    hidden = [b for b in range(256) if b not in shown]
    return table | {chr(256 + n): b for n, b in enumerate(hidden)}


def masked(tokenizer: Any, text: str, mask_id: int | None) -> list[int]:
    """Ids of a text in which ``[MASK]`` stands for the model's mask.

    Raises:
        UserError: the text has a mask, and the model's loss has none.
    """
    pieces = text.split(MASK)
    if len(pieces) > 1 and mask_id is None:
        raise UserError("--prompt", f"{MASK} stands in it, and this model's loss has no mask", "leave it out")
    ids = list(tokenizer.encode(pieces[0]))
    for piece in pieces[1:]:
        ids += [mask_id, *tokenizer.encode(piece)]  # type: ignore[list-item]
    return ids


def numbers(text: str, width: int) -> list[float]:
    """``32,107,56,11.2`` as numbers, ``width`` for each position.

    Raises:
        UserError: these are no numbers, or do not fill whole positions.
    """
    try:
        row = [float(w) for w in text.replace(";", ",").replace("\n", ",").split(",") if w.strip()]
    except ValueError:
        row = []
    if not row:
        raise UserError("--prompt", f"{text!r} is no row of numbers", 'this model reads numbers: --prompt "32,107,56,11.2"')
    if len(row) % width:
        raise UserError(
            "--prompt",
            f"{len(row)} numbers, and the model reads {width} at each position",
            f"give {width}, with commas between",
        )
    return row
