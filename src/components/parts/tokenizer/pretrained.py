"""It reads any ``tokenizer.json`` that the ``tokenizers`` library reads, and SentencePiece and tiktoken files."""

from __future__ import annotations

import os
import pathlib

from components.core.registry import register
from components.core.signature import Path
from components.corpus.foreign import read_pretrained
from components.corpus.tokens import Tokens


@register("tokenizer", "pretrained")
class Pretrained(Tokens):
    """A tokenizer made elsewhere, from its ``tokenizer.json``, its SentencePiece model or its rank file.

    Special tokens are those that the files beside it name, else those with usual names (``</s>``, ``[PAD]``, ...).

    Whether text comes back exactly is the file's doing; the report of a corpus says so where it does not.

    Args:
        path: a tokenizer.json, or a folder with one or with another tokenizer's files; a run's folder too.
    """

    def __init__(self, *, path: Path) -> None:
        read = read_pretrained(pathlib.Path(os.path.expanduser(path)))
        super().__init__(read.core, read.roles, read.files)
