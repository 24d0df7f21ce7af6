"""A tokenizer made elsewhere: any ``tokenizer.json`` that the ``tokenizers`` library reads."""

from __future__ import annotations

import os

from components.corpus.tokens import Tokens, read_tokenizer
from components.registry import register
from components.signature import Path


@register("tokenizer", "pretrained")
class Pretrained(Tokens):
    """A tokenizer made elsewhere, from its ``tokenizer.json``.

    Special tokens are those that the files beside it name, else those with usual names (``</s>``, ``[PAD]``, ...).

    Whether text comes back exactly is the file's doing; the report of a corpus says so where it does not.

    Args:
        path: a tokenizer.json, or a folder with one.
    """

    def __init__(self, *, path: Path) -> None:
        read = read_tokenizer(os.path.expanduser(path))
        super().__init__(read.core, read.roles)
