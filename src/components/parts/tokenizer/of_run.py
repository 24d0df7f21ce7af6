"""The tokenizer of a run: what a model that begins with another's weights needs, for which every id is a token of that run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path as File

from components.core.registry import register
from components.core.signature import Path
from components.corpus.tokens import LABELS_FILE, Tokens


@register("tokenizer", "of_run")
class OfRun:
    """The tokenizer of a run, as its checkpoint has it, with its chat template; labels are those of the data.

    Args:
        run: a run's folder, or a checkpoint of one; null: the one that ``init_from`` names. With ``init_from=null tokenizer.run=RUN`` the same
            model begins from scratch with the same tokens.
    """

    def __init__(self, *, run: Path | None = None) -> None:
        self.run = run
        self.tokens: Tokens | None = None

    @property
    def attached(self) -> Tokens | None:
        return self.tokens

    def attach(self, tokens: Tokens) -> None:
        """Be ``tokens`` from now on, without the labels of that run's data."""
        tokens.files.pop(LABELS_FILE, None)
        self.tokens = tokens

    @property
    def vocab_size(self) -> int:
        return self._taken().vocab_size

    def train(self, texts: Iterable[str]) -> None:
        """There is nothing left to learn."""

    def save(self, file: str | File) -> None:
        self._taken().save(file)

    def fingerprint(self) -> str:
        """By content, and that of the files beside it: a copy elsewhere is the same tokenizer."""
        tokens = self._taken()
        held = tokens.fingerprint() + json.dumps(tokens.files, sort_keys=True)
        return hashlib.blake2b(held.encode(), digest_size=16).hexdigest()

    def _taken(self) -> Tokens:
        if self.tokens is None:
            raise ValueError("tokenizer/of_run has been given no run's tokenizer: runs.preparing.tokenizer_of does")
        return self.tokens
