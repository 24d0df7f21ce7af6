"""A token keeps the space before it. Words outside the vocabulary are unknown."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from components.core.registry import register
from components.core.signature import NonNegative, Rows
from components.parts.tokenizer._base import OWN_NAMES, SPECIALS, WORDS, Trained, room_for


@register("tokenizer", "word")
class Word(Trained):
    """One id for each frequent word, sign or stretch of space.

    Ids 0 to 4 are special tokens, then words, the most frequent first.

    Args:
        vocab_size: ids at most.
        min_frequency: rarer words are unknown.
    """

    lacks = ("round_trip",)  # rare words

    def __init__(self, *, vocab_size: Rows = 8192, min_frequency: NonNegative = 2) -> None:
        room_for(vocab_size, 1, "word")
        super().__init__(vocab_size=vocab_size, min_frequency=min_frequency)

    def fitted(self, texts: Iterable[str]) -> Tokenizer:
        core = Tokenizer(models.WordLevel({}, unk_token=OWN_NAMES["unk"]))
        core.pre_tokenizer = pre_tokenizers.Split(WORDS, "isolated")
        core.decoder = decoders.Fuse()
        core.train_from_iterator(
            texts, trainers.WordLevelTrainer(**self.options, special_tokens=list(SPECIALS), show_progress=False)
        )
        return core
