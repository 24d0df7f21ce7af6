"""The most frequent neighbours become one token.

Sennrich et al. 2016, arXiv:1508.07909; on bytes: Radford et al. 2019 (GPT-2)
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, models, trainers

from components.core.registry import register
from components.core.signature import NonNegative, Rows
from components.parts.tokenizer._base import SPECIALS, Trained, alphabet, byte_level, room_for


@register("tokenizer", "bpe")
class BPE(Trained):
    """Byte-pair encoding on bytes, with GPT-2's division into words; any text comes back exactly.

    Args:
        vocab_size: ids at most: 5 special tokens, 256 bytes, the rest learned. Fewer if the text has no more pairs.
        min_frequency: how often a pair must occur to become a token.
    """

    def __init__(self, *, vocab_size: Rows = 1024, min_frequency: NonNegative = 2) -> None:
        room_for(vocab_size, 256, "bytes")
        super().__init__(vocab_size=vocab_size, min_frequency=min_frequency)

    def fitted(self, texts: Iterable[str]) -> Tokenizer:
        core = byte_level(models.BPE(), words=True)
        core.train_from_iterator(
            texts,
            trainers.BpeTrainer(
                **self.options, special_tokens=list(SPECIALS), initial_alphabet=alphabet(), show_progress=False
            ),
        )
        return core
