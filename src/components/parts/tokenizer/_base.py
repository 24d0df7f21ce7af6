"""What the trained tokenizers share: five special tokens first, training from an iterable, an identity for caches."""

from __future__ import annotations

import copyreg
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers

from components.corpus.tokens import OWN_NAMES, Tokens

SPECIALS = tuple(OWN_NAMES.values())  # ids 0 to 4 of every tokenizer that is trained here
# A word with the space before it, signs with theirs, further spaces: the pieces, put together, are the text.
WORDS = Regex(r" ?[\p{L}\p{M}\p{N}_]+| ?[^\s\p{L}\p{M}\p{N}_]+|\s+(?!\S)|\s+")


class Trained(Tokens):
    """A tokenizer that ``train`` makes from texts. Until then it knows nothing, and says so."""

    # no part of its own: each tokenizer lists its options and hands them on, and they are its fingerprint
    def __init__(self, **options: Any) -> None:
        self.options = options

    def train(self, texts: Iterable[str]) -> None:
        """Learn the vocabulary from ``texts``; earlier training is forgotten."""
        self._set(self.fitted(texts), dict(OWN_NAMES))

    def fitted(self, texts: Iterable[str]) -> Tokenizer:
        """The library's tokenizer, trained. Each file says how."""
        raise NotImplementedError(f"{type(self).__name__} says how it is trained in fitted()")

    def fingerprint(self) -> str:
        """Equal for tokenizers that would be trained alike."""
        held = json.dumps([type(self).__module__, type(self).__qualname__, self.options], sort_keys=True)
        return hashlib.blake2b(held.encode(), digest_size=16).hexdigest()

    def __reduce__(self) -> Any:
        if "core" in vars(self):
            return super().__reduce__()
        # untrained: its options are all there is
        return copyreg.__newobj__, (type(self),), dict(vars(self))  # pyright: ignore[reportAttributeAccessIssue]

    def __getattr__(self, name: str) -> Any:
        if name in ("core", "roles", "specials", "vocab_size", "_known", "_ids"):  # all that training sets
            raise RuntimeError(f"{type(self).__name__} is not trained yet: call train(texts) or read a saved one")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def byte_level(model: Any, *, words: bool) -> Tokenizer:
    """A tokenizer over the 256 bytes, each shown as one printable character: whatever goes in comes out."""
    core = Tokenizer(model)
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words)
    core.decoder = decoders.ByteLevel()
    return core


def alphabet() -> list[str]:
    """The 256 characters that stand for bytes, sorted (the library gives them in a random order)."""
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def room_for(vocab_size: int, needed: int, what: str) -> int:
    """``vocab_size``, if it holds the special tokens and ``needed`` others. ValueError else."""
    least = needed + len(SPECIALS)
    if vocab_size < least:
        raise ValueError(
            f"vocab_size={vocab_size} is too small: {len(SPECIALS)} special tokens and {needed} {what} need {least}"
        )
    return vocab_size
