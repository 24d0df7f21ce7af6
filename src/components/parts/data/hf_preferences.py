"""It needs the extra ``data``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from components.core.registry import register
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._conversations import FORM
from components.parts.data._hub import ExamplesFromHub
from components.parts.data._preferences import preferences


@register("data", "hf_preferences")
class HFPreferences(ExamplesFromHub):
    """Preferred and rejected answers from a Hugging Face data set, from the hub or local, in the forms of ``preferences``.

    A hub data set is taken to stay as it is under its name and revision: give a revision where that matters.

    Args:
        path: a hub id (``trl-lib/ultrafeedback_binarized``), a folder (of data files, or made by ``save_to_disk``), or a data file.
        abnormal: rows that are no preference in text: refused, or dropped and counted.
    """

    provides = ("preferences",)

    abnormal: Literal["refuse", "drop"] = "refuse"

    def __init__(self, *, path: str) -> None:
        super().__init__(path=path)
        self.notes: list[str] = []

    def fingerprint(self) -> str:
        return key_of("hf_preferences", FORM, *self.hub.fingerprint(), self.splits, self.abnormal)

    def examples(self) -> Iterator[Example]:
        yield from preferences(self.hub.rows(self.splits), self.abnormal, self.notes)
