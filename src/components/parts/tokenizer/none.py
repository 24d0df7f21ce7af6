"""No tokens but the special ones: for data without text, such as tables and pictures."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, models

from components.core.registry import register
from components.parts.tokenizer._base import OWN_NAMES, SPECIALS, Trained


@register("tokenizer", "none")
class NoTokens(Trained):
    """No text: the five special tokens alone, for data that is numbers. Whatever text it is given is one unknown token."""

    lacks = ("round_trip",)  # there is no text to give back

    def __init__(self) -> None:
        super().__init__()
        self.train(())

    def fitted(self, texts: Iterable[str]) -> Tokenizer:  # noqa: ARG002  there is nothing to learn
        core = Tokenizer(models.WordLevel({token: i for i, token in enumerate(SPECIALS)}, unk_token=OWN_NAMES["unk"]))
        core.add_special_tokens(list(SPECIALS))
        return core
