"""Kudo 2018, arXiv:1804.10959"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import Tokenizer, models, trainers

from components.core.registry import register
from components.core.signature import Positive, Rows
from components.parts.tokenizer._base import OWN_NAMES, SPECIALS, Trained, alphabet, byte_level, room_for


@register("tokenizer", "unigram")
class Unigram(Trained):
    """Unigram language model on bytes: the most probable division into pieces; any text comes back exactly.

    Ids 0 to 4 are special tokens, then pieces, the most probable first.

    Args:
        vocab_size: ids at most: 5 special tokens, 256 bytes, the rest learned.
        max_piece_length: bytes of a piece at most.
    """

    def __init__(self, *, vocab_size: Rows = 1024, max_piece_length: Positive = 16) -> None:
        room_for(vocab_size, 256, "bytes")
        super().__init__(vocab_size=vocab_size, max_piece_length=max_piece_length)

    def fitted(self, texts: Iterable[str]) -> Tokenizer:
        raw = byte_level(models.Unigram(), words=True)
        trainer = trainers.UnigramTrainer(
            **self.options,
            special_tokens=list(SPECIALS),
            unk_token=OWN_NAMES["unk"],
            initial_alphabet=alphabet(),
            show_progress=False,
        )
        raw.train_from_iterator(texts, trainer)
        scores = settled({p: s for p, s in json.loads(raw.to_str())["model"]["vocab"] if p not in SPECIALS})
        pieces = sorted(scores, key=lambda p: (-scores[p], p))
        core = byte_level(
            models.Unigram([*((s, 0.0) for s in SPECIALS), *((p, scores[p]) for p in pieces)], unk_id=0), words=True
        )
        core.add_special_tokens(list(SPECIALS))
        return core


def settled(scores: dict[str, float]) -> dict[str, float]:
    """``scores`` as they would be in every run of the same training.

    The library adds up in a changing order (the last digits differ), and gives bytes that the text lacks the lowest score, the next
    one 0.0001 more, and so on, in a changing order.
    """
    scores = {piece: round(score, 9) for piece, score in scores.items()}
    lowest = min(s for piece, s in scores.items() if len(piece) == 1)
    steps = {piece: (s - lowest) * 1e4 for piece, s in scores.items() if len(piece) == 1}
    lacking = sorted(piece for piece, n in steps.items() if n < 256 and abs(n - round(n)) < 1e-4)
    return {**scores, **dict(zip(lacking, sorted((scores[p] for p in lacking), reverse=True)))}
