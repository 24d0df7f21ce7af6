"""Texts with a label each from a Hugging Face data set, from the hub or local; needs the extra ``data``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from components.core.registry import register
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._examples import labelled
from components.parts.data._hub import Hub, splits_of


@register("data", "hf_labelled_text")
class HFLabelledText:
    """Texts with a label each from a Hugging Face data set, from the hub or local.

    A hub data set is taken to stay as it is under its name and revision: give a revision where that matters.

    Args:
        path: a hub id (``stanfordnlp/imdb``), a folder (of data files, or made by ``save_to_disk``), or a data file.
        subset: the configuration, where a data set has several.
        split: which split to learn from; slices such as ``train[:1%]`` work.
        validation_split: which split to validate on; null: a share of ``split``, drawn by a hash.
        test_split: which split to test on, likewise.
        text: the column of the text; ``a.b`` is field b of the object in column a.
        label: the column of the label; its numbers become the names that the data set gives them.
        revision: a commit or tag of the hub's repository.
        streaming: read over the network without storing the data set.
    """

    provides = ("labels",)

    def __init__(
        self,
        *,
        path: str,
        subset: str | None = None,
        split: str = "train",
        validation_split: str | None = None,
        test_split: str | None = None,
        text: str = "text",
        label: str = "label",
        revision: str | None = None,
        streaming: bool = False,
    ) -> None:
        self.hub, self.splits = Hub(path, subset, revision, streaming), splits_of(split, validation_split, test_split)
        self.text, self.label = text, label

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """In the order of the data set's own numbers, where it has names for them."""
        return self.hub.labels(next(iter(self.splits)), self.label)

    def fingerprint(self) -> str:
        return key_of("hf_labelled_text", *self.hub.fingerprint(), self.splits, self.text, self.label)

    def examples(self) -> Iterator[Example]:
        for split, row in self.hub.rows(self.splits, [self.text, self.label]):
            yield labelled(split, row, self.text, self.label, self.labels)
