"""Pairs of texts from a Hugging Face data set, from the hub or local; needs the extra ``data``."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.registry import register
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._examples import paired
from components.parts.data._hub import Hub, splits_of


@register("data", "hf_text_pairs")
class HFTextPairs:
    """Pairs of texts from a Hugging Face data set, from the hub or local.

    A hub data set is taken to stay as it is under its name and revision: give a revision where that matters.

    Args:
        path: a hub id (``Helsinki-NLP/opus_books``), a folder (of data files, or made by ``save_to_disk``), or a data file.
        subset: the configuration, where a data set has several (``en-fr``).
        split: which split to learn from; slices such as ``train[:1%]`` work.
        validation_split: which split to validate on; null: a share of ``split``, drawn by a hash.
        test_split: which split to test on, likewise.
        source: the column of the text that is given; ``translation.en`` is field en of the object in column translation.
        target: the column of the text that answers it.
        revision: a commit or tag of the hub's repository.
        streaming: read over the network without storing the data set.
    """

    provides = ("pairs",)

    def __init__(
        self,
        *,
        path: str,
        subset: str | None = None,
        split: str = "train",
        validation_split: str | None = None,
        test_split: str | None = None,
        source: str = "source",
        target: str = "target",
        revision: str | None = None,
        streaming: bool = False,
    ) -> None:
        self.hub, self.splits = Hub(path, subset, revision, streaming), splits_of(split, validation_split, test_split)
        self.source, self.target = source, target

    def fingerprint(self) -> str:
        return key_of("hf_text_pairs", *self.hub.fingerprint(), self.splits, self.source, self.target)

    def examples(self) -> Iterator[Example]:
        for split, row in self.hub.rows(self.splits, [self.source, self.target]):
            yield paired(split, row, self.source, self.target)
