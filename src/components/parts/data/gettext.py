"""English and another language, from the catalogues of gettext that installed packages and programs bring: real translations without a download."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property

from components.core.errors import UserError, nearest
from components.core.registry import register
from components.core.signature import Positive
from components.corpus.contents import hash_of
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._catalogues import catalogues, messages, plain, roots

# Other names of the folder for the same written language; fr_FR for fr and the like go without saying.
ALSO = {"zh_Hans": ("zh_CN", "zh_SG"), "zh_Hant": ("zh_TW", "zh_HK"), "nb": ("no",)}
NAMES = ("iso_", "iso-codes")  # lists of the names of countries and languages, no sentences


@register("data", "gettext")
class Gettext:
    """English strings and their translations, from the catalogues found on this machine: no download.

    Licences: those of the packages, which are read where they are installed. The set depends on what is installed; the report says how much
    was found. An English string that several catalogues translate is taken from the first.

    Args:
        language: the folder's name, such as ``fr``, ``de``, ``pt_BR`` or ``zh_Hans``.
        max_chars: longer strings are left out, on either side.
        marked: keep strings with placeholders (``%s``, ``{name}``), tags or several lines.
    """

    provides = ("pairs",)

    def __init__(self, *, language: str = "fr", max_chars: Positive = 200, marked: bool = False) -> None:
        self.language, self.max_chars, self.marked = language, max_chars, marked
        self.notes: list[str] = []

    @cached_property
    def files(self) -> list[str]:
        """The catalogues of the language. UserError if the machine has none."""
        there = catalogues(roots())
        near = [n for n in there if n[:1].lower() == self.language[:1].lower()]
        home = f"{self.language}_{self.language.upper()}"
        names = (self.language, home, *ALSO.get(self.language, ()))
        found = [f for n in names for f in there.get(n, ()) if not os.path.basename(f).startswith(NAMES)]
        if not found:
            raise UserError(
                "data.language",
                f"no catalogue of {self.language!r} was found on this machine",
                f"pip install django brings about 100 languages; {nearest(self.language, near or there, called='found')}",
            )
        return found

    def fingerprint(self) -> str:
        return key_of("gettext", self.language, self.max_chars, self.marked, hash_of(self.files))

    def examples(self) -> Iterator[Example]:
        self.notes.clear()
        seen: dict[str, str] = {}
        left = other = 0
        for file in self.files:
            for english, (said, *_) in ((m, t) for m, t in messages(file) if t):
                kept = english != said and max(len(english), len(said)) <= self.max_chars
                if not kept or not (self.marked or (plain(english) and plain(said))):
                    left += 1
                elif english in seen:
                    other += seen[english] != said
                else:
                    seen[english] = said
                    yield Example(english, said, file)
        self.notes.append(
            f"{len(seen)} strings in {self.language} from {len(self.files)} catalogues; left out: {left} too long, marked or not translated, "
            f"{other} that an earlier catalogue translates otherwise"
        )
