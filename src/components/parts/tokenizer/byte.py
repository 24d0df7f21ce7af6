"""There are 261 ids: 5 special tokens and 256 bytes.

Xue et al. 2021 (ByT5), arXiv:2105.13626
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, models

from components.core.registry import register
from components.parts.tokenizer._base import OWN_NAMES, SPECIALS, Trained, alphabet, byte_level


@register("tokenizer", "byte")
class Byte(Trained):
    """The bytes of UTF-8: no training, any text comes back exactly.

    Ids 0 to 4 are special tokens, 5 to 260 the bytes in order of value.
    """

    def __init__(self) -> None:
        super().__init__()
        self.train(())

    def train(self, texts: Iterable[str]) -> None:  # noqa: ARG002  there is nothing to learn
        self._set(self.fitted(()), dict(OWN_NAMES))

    def fitted(self, texts: Iterable[str]) -> Tokenizer:  # noqa: ARG002
        # ByteLevel shows printable bytes as themselves and the others, in order, as the characters from 256 on
        printable = [c for c in alphabet() if ord(c) < 256]
        others = iter(c for c in alphabet() if ord(c) >= 256)
        shown = [chr(b) if chr(b) in printable else next(others) for b in range(256)]
        vocab = {token: i for i, token in enumerate((*SPECIALS, *shown))}
        core = byte_level(models.BPE(vocab=vocab, merges=[]), words=False)
        core.add_special_tokens(list(SPECIALS))
        return core

    def encode(self, text: str, *, special_tokens: bool = False) -> list[int]:
        if special_tokens:
            return super().encode(text, special_tokens=True)
        # as the library does, many times faster
        return [b + len(SPECIALS) for b in text.encode("utf8")]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]
