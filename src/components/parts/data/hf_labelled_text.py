"""It needs the extra ``data``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from components.core.registry import register
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._examples import labelled
from components.parts.data._hub import ExamplesFromHub


@register("data", "hf_labelled_text")
class HFLabelledText(ExamplesFromHub):
    """Texts with a label each from a Hugging Face data set, from the hub or local.

    A hub data set is taken to stay as it is under its name and revision: give a revision where that matters.

    Args:
        path: a hub id (``stanfordnlp/imdb``), a folder (of data files, or made by ``save_to_disk``), or a data file.
        text: the column of the text; ``a.b`` is field b of the object in column a.
        label: the column of the label; its numbers become the names that the data set gives them.
    """

    provides = ("labels",)

    text: str = "text"
    label: str = "label"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """In the order of the data set's own numbers, where it has names for them."""
        return self.hub.labels(next(iter(self.splits)), self.label)

    def fingerprint(self) -> str:
        return key_of("hf_labelled_text", *self.hub.fingerprint(), self.splits, self.text, self.label)

    def examples(self) -> Iterator[Example]:
        for split, row in self.hub.rows(self.splits, [self.text, self.label]):
            yield labelled(split, row, self.text, self.label, self.labels)
