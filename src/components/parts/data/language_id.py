"""Which language is it? Strings in about a hundred languages from the catalogues of Django, each with its language's code."""

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
from components.parts.data._catalogues import catalogues, django, messages, plain


@register("data", "language_id")
class LanguageId:
    """Strings with the code of their language, from the catalogues of the installed Django: labels; licence: BSD.

    Strings that several of the languages share are left out, since they have no right answer; the report counts them.

    Args:
        languages: codes as Django writes them (``en``, ``de``, ``pt_BR``, ``zh_Hans``); none given: all.
        min_chars: shorter strings are left out.
        marked: keep strings with placeholders (``%s``, ``{name}``), tags or several lines.
    """

    provides = ("labels",)

    def __init__(self, *, languages: tuple[str, ...] = (), min_chars: Positive = 8, marked: bool = False) -> None:
        self.root = django()
        self.there = catalogues([self.root])
        if unknown := sorted(set(languages) - set(self.there)):
            raise UserError(
                "data.languages", f"Django has no language {unknown[0]!r}", nearest(unknown[0], self.there, called="codes")
            )
        self.languages, self.min_chars, self.marked = list(languages), min_chars, marked
        self.notes: list[str] = []

    def fingerprint(self) -> str:
        files = [f for files in self.there.values() for f in files]
        return key_of("language_id", self.languages, self.min_chars, self.marked, hash_of(files))

    @cached_property
    def strings(self) -> dict[str, dict[str, str]]:
        """{language: {string: file}}; English is what the others translate."""
        found: dict[str, dict[str, str]] = {"en": {}}
        for language, files in self.there.items():
            own = found.setdefault(language, {})
            for file in files:
                name = os.path.relpath(file, os.path.dirname(self.root))
                for english, forms in messages(file):
                    found["en"].setdefault(english, name)
                    for text in forms:
                        if text != english:
                            own.setdefault(text, name)
        wanted = [n for n in sorted(found) if n in (self.languages or found)]
        return {n: kept for n in wanted if (kept := {t: f for t, f in found[n].items() if self._fits(t)})}

    def _fits(self, text: str) -> bool:
        return len(text) >= self.min_chars and (self.marked or plain(text))

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.strings)

    def examples(self) -> Iterator[Example]:
        counts: dict[str, int] = {}
        for own in self.strings.values():
            for text in own:
                counts[text] = counts.get(text, 0) + 1
        shared = sum(n > 1 for n in counts.values())
        self.notes[:] = [f"strings of {len(self.strings)} languages; {shared} left out that several of them have"]
        for language, own in self.strings.items():
            yield from (Example(text, language, file) for text, file in own.items() if counts[text] == 1)
