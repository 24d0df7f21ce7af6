"""Pieces are taken from left to right.

Schuster & Nakajima 2012; as in BERT, Devlin et al. 2018, arXiv:1810.04805
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from components.core.registry import register
from components.core.signature import NonNegative, Rows
from components.parts.tokenizer._base import OWN_NAMES, SPECIALS, Trained, room_for


@register("tokenizer", "wordpiece")
class WordPiece(Trained):
    """Each word as the longest pieces known, as in BERT; spaces are not kept.

    Words end at spaces and signs; ``##`` marks pieces inside a word.

    Args:
        vocab_size: ids at most: 5 special tokens, characters, the rest learned.
        min_frequency: how often a pair must occur to become a piece.
        lowercase: lower case, and accents removed.
    """

    lacks = ("round_trip",)  # spaces, unseen characters

    def __init__(self, *, vocab_size: Rows = 8192, min_frequency: NonNegative = 2, lowercase: bool = False) -> None:
        room_for(vocab_size, 1, "character")
        super().__init__(vocab_size=vocab_size, min_frequency=min_frequency, lowercase=lowercase)

    def fitted(self, texts: Iterable[str]) -> Tokenizer:
        core = self._empty({})
        texts = list(texts) if iter(texts) is texts else texts  # read twice
        # The library breaks ties between pairs by the ids of "##x", which it gives in an order that changes from run to run: so they
        # are given beforehand, sorted, as if they were special.
        characters: set[str] = set()
        for text in texts:
            characters.update(core.normalizer.normalize_str(text))
        inner = sorted(c for c in characters if len(core.pre_tokenizer.pre_tokenize_str(c + c)) == 1)
        trainer = trainers.WordPieceTrainer(
            vocab_size=self.options["vocab_size"],
            min_frequency=self.options["min_frequency"],
            special_tokens=[*SPECIALS, *(f"##{c}" for c in inner)],
            show_progress=False,
        )
        core.train_from_iterator(texts, trainer)
        made = self._empty(core.get_vocab())
        made.add_special_tokens(list(SPECIALS))
        return made

    def _empty(self, vocab: dict[str, int]) -> Tokenizer:
        core = Tokenizer(models.WordPiece(vocab, unk_token=OWN_NAMES["unk"], max_input_chars_per_word=100))
        lowercase = self.options["lowercase"]
        core.normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=lowercase, lowercase=lowercase
        )
        core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        core.decoder = decoders.WordPiece(prefix="##", cleanup=False)
        return core
