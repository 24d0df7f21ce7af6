"""What turns text into ids and back: a ``tokenizers`` file and the roles of its special tokens.

Special tokens are never read from ordinary text: ``encode("<|endoftext|>")`` gives the ids of these thirteen characters, so no
text can end a document or start a role. ``decode`` drops nothing but rows of a model that stand for no token.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from components.core.errors import UserError
from components.core.files import make_folder, write_json, write_text
from components.corpus.token_files import (
    CONFIG_FILE,
    KEPT,
    LABELS_FILE,
    MAP_FILE,
    OWN_FILE,
    ROLES,
    TEMPLATE_FILE,
    around,
    files_beside,
    guarded,
    labels_in,
    own_facts,
    parsed,
    roles_read,
    said_in,
)

__all__ = [
    "CONFIG_FILE",
    "KEPT",
    "LABELS_FILE",
    "MAP_FILE",
    "OWN_FILE",
    "OWN_NAMES",
    "ROLES",
    "TEMPLATE_FILE",
    "Tokens",
    "read_tokenizer",
]
OWN_NAMES = {role: f"<|{role}|>" for role in ROLES}
_MAKING = threading.Lock()


class Tokens:
    """Text <-> ids. ``specials`` gives the ids of the roles in ``ROLES`` that this tokenizer has. Safe to use from several
    threads.

    ``begins``: ids that its file puts before a text; None if no file says (then a text begins with ``endoftext``). ``closes``:
    ids that its file puts after a text. ``ends``: ids that end a text, ``most``: new tokens that the model is to write at most;
    None if no file says. ``files``: the files beside tokenizer.json, {name: text}, saved along with it.
    """

    def __init__(self, core: Tokenizer, roles: dict[str, str], files: dict[str, str] | None = None) -> None:
        self._set(core, roles, files)

    def _set(self, core: Tokenizer, roles: dict[str, str], files: dict[str, str] | None = None) -> None:
        # a file may carry the cutting and padding of its last user, both of which lose text or add ids silently
        core.no_truncation()
        core.no_padding()
        core.encode_special_tokens = True  # not kept in the file, so set by everyone who reads one
        self.core = core
        self._reading: Tokenizer | None = None
        self.roles = roles
        self.specials = {role: i for role, token in roles.items() if (i := core.token_to_id(token)) is not None}
        self._known = set(core.get_vocab(with_added_tokens=True).values())
        self.files = dict(files or {})
        known = own_facts(self.files)
        self._n_named = max(self._known) + 1
        self.vocab_size: int = known.get("vocab_size") or self._n_named
        before, self.closes = around(core)
        self.begins: list[int] | None = known.get("begins", before or None)
        self.ends: list[int] | None = known.get("ends")
        self.starts: list[int] | None = known.get("starts")
        self.most: int | None = known.get("most")

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of a classifier's scores; empty if there are none."""
        return labels_in(self.files)

    def said(self, name: str) -> dict[str, Any]:
        """The object in a JSON file beside tokenizer.json; empty if the file is missing. UserError if it is not an object."""
        return said_in(self.files, name)

    def __reduce__(self) -> tuple[object, ...]:
        # the library's own pickle forgets that special tokens are not to be read from text
        return _unpickled, (self.core.to_str(), self.roles, self.files)

    def train(self, texts: Iterable[str]) -> None:
        """Does nothing: a tokenizer that was read from a file is already trained."""

    def fingerprint(self) -> str:
        """By content, so that a copy elsewhere is the same tokenizer."""
        held = json.dumps([self.roles, self.begins], sort_keys=True) + self.core.to_str()
        return hashlib.blake2b(held.encode(), digest_size=16).hexdigest()

    @property
    def reading(self) -> Tokenizer:
        """The library's object that reads special tokens in text. It is a second object: switching a flag of the first would
        affect other threads."""
        with _MAKING:
            if self._reading is None:
                made = Tokenizer.from_str(self.core.to_str())
                made.encode_special_tokens = False
                self._reading = made
        return self._reading

    def encode(self, text: str, *, special_tokens: bool = False) -> list[int]:
        """Ids of ordinary text, without any special token.

        Args:
            text: anything.
            special_tokens: read special tokens in the text, and add those that the file puts before and after a text.

        Raises:
            UserError: the text contains a lone surrogate, which is not a character.
        """
        return self._encoded(self.reading if special_tokens else self.core, text, around=special_tokens)

    def encode_whole(self, text: str) -> list[int]:
        """Ids of ordinary text, with the special tokens that the file puts before and after it."""
        return self._encoded(self.core, text, around=True)

    def encode_marked(self, text: str) -> list[int]:
        """Ids of text in which special tokens are read; none is added before or after it."""
        return self._encoded(self.reading, text, around=False)

    def _encoded(self, core: Tokenizer, text: str, *, around: bool) -> list[int]:
        try:
            return core.encode(text, add_special_tokens=around).ids
        except (TypeError, UnicodeError):
            bad = next((c for c in text if "\ud800" <= c <= "\udfff"), None) if isinstance(text, str) else None
            if bad is None:
                raise
            raise UserError(
                "text",
                f"has U+{ord(bad):04X} at character {text.index(bad) + 1}, which is no character",
                "give text that is UTF-8",
            ) from None

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` of each, on all cores."""
        return [e.ids for e in self.core.encode_batch_fast(list(texts), add_special_tokens=False)]

    def need_rows(self, ids: Iterable[int], where: str) -> None:
        """UserError, beginning with ``where``, if the model has no row for one of ``ids``: a token added to the tokenizer but not
        to its model."""
        if self._n_named <= self.vocab_size:
            return
        lost = next((i for i in ids if i >= self.vocab_size), None)
        if lost is not None:
            raise UserError(
                where,
                f"holds the token {self.core.id_to_token(lost)!r} (id {lost}), and the model has rows for ids below {self.vocab_size} alone",
                "leave it out, or take a model with a row for it",
            )

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, with special tokens by their names. ValueError for an unknown id.

        A model's rows beyond its tokenizer's ids have no text.
        """
        ids = [int(i) for i in ids]
        for i in ids:
            if i not in self._known and not self._n_named <= i < self.vocab_size:  # the library would leave it out
                raise ValueError(f"id {i} is none of this tokenizer's {len(self._known)} ids")
        return self.core.decode(ids, skip_special_tokens=False)

    def save(self, file: str | Path) -> None:
        """Write ``tokenizer.json``, and beside it the roles if the names alone do not tell them."""
        file = Path(file)
        folder = make_folder(file.parent)
        write_text(file, self.core.to_str())
        for name, text in self.files.items():
            write_text(folder / name, text)
        if roles_read(self.core, file.parent) != self.roles:
            held = self.said(MAP_FILE) | {f"{role}_token": t for role, t in self.roles.items()}
            write_json(folder / MAP_FILE, held, indent=None)


def read_tokenizer(file: str | Path) -> Tokens:
    """Read a ``tokenizer.json``, or the one in a folder. Roles come from the files beside it, or from the usual names.

    Raises:
        UserError: the file does not exist, or the ``tokenizers`` library cannot read it.
    """
    file = Path(file).expanduser()
    if file.is_dir():
        if not (file / "tokenizer.json").is_file():
            raise UserError(
                str(file), "has no tokenizer.json", "save one there: AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
            )
        file = file / "tokenizer.json"
    core = parsed(file)
    with guarded(file):
        return Tokens(core, roles_read(core, file.parent), files_beside(file.parent))


def _unpickled(held: str, roles: dict[str, str], files: dict[str, str]) -> Tokens:
    return Tokens(Tokenizer.from_str(held), roles, files)


def same_tokens(files: dict[str, str], others: dict[str, str]) -> bool:
    """Whether two tokenizers, compared by their saved files, agree on every id. Labels and chat templates are ignored."""
    a, b = ({n: text for n, text in f.items() if n not in (LABELS_FILE, TEMPLATE_FILE)} for f in (files, others))
    return a == b
