"""The texts of a source of examples without their answers: what a language model may learn from before anybody has labelled anything."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.makers import Maker, make
from components.core.registry import register
from components.core.traits import gives_examples
from components.corpus.document import Document
from components.corpus.examples import texts_of
from components.corpus.store import key_of


@register("data", "texts_of")
class TextsOf:
    """Every text of a source of examples, each a document: inputs, answers that are texts, what is said in conversations.

    A text that this source holds out is held out by a task over the examples as well, where both take the same share and the source does
    not split itself: so a model that was trained on these texts can be tried on examples it has not read.

    Args:
        source: a source of examples: labelled texts (their labels are left out), pairs of texts, conversations.
    """

    provides = ("text",)

    def __init__(self, *, source: Maker["data"]) -> None:
        self.source = make(source, "data")
        if not gives_examples(self.source):
            raise ValueError(f"{type(self.source).__name__} has texts alone: choose it as it is")
        self.notes: list[str] = []

    def fingerprint(self) -> str:
        return key_of("texts_of", type(self.source).__qualname__, self.source.fingerprint())

    def documents(self) -> Iterator[Document]:
        labelled = "labels" in self.source.provides
        for example in self.source.examples():
            texts = [example.input] if labelled else texts_of([example])
            yield from (Document(text, example.origin, example.line) for text in texts if isinstance(text, str))
        self.notes[:] = self.source.notes
