"""It needs the extra ``data``."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.registry import register
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._examples import paired
from components.parts.data._hub import ExamplesFromHub


@register("data", "hf_text_pairs")
class HFTextPairs(ExamplesFromHub):
    """Pairs of texts from a Hugging Face data set, from the hub or local.

    A hub data set is taken to stay as it is under its name and revision: give a revision where that matters.

    Args:
        path: a hub id (``Helsinki-NLP/opus_books``), a folder (of data files, or made by ``save_to_disk``), or a data file.
        subset: the configuration, where a data set has several (``en-fr``).
        source: the column of the text that is given; ``translation.en`` is field en of the object in column translation.
        target: the column of the text that answers it.
    """

    provides = ("pairs",)

    source: str = "source"
    target: str = "target"

    def fingerprint(self) -> str:
        return key_of("hf_text_pairs", *self.hub.fingerprint(), self.splits, self.source, self.target)

    def examples(self) -> Iterator[Example]:
        for split, row in self.hub.rows(self.splits, [self.source, self.target]):
            yield paired(split, row, self.source, self.target)
