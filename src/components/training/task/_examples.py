"""Tasks over examples: one example a row, padded to the longest of its batch."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from components.corpus.example import Example, Values
from components.corpus.examples import prepare_examples
from components.corpus.rows import Row, Rows
from components.corpus.tokens import Tokens
from components.training.task._training import Training


class FromExamples(Training):
    """The base of tasks that read ``Example``s: a task says how one becomes a row (``encode``), and whether answers are labels."""

    labelled = False
    rows_kind: ClassVar[type[Rows]] = Rows

    @classmethod
    def prepare(cls, source: Any, tokenizer: Any, options: dict[str, Any], cache: Any, progress: Any) -> Any:
        return prepare_examples(
            source,
            tokenizer,
            cache=cache,
            labelled=cls.labelled,
            validation=options["validation_fraction"],
            test=options["test_fraction"],
            progress=progress,
        )

    def blocks(self, corpus: Any, split: str, context: int, seed: int | None = None) -> Any:
        examples = getattr(corpus, split)
        return self.rows_kind(split, examples, self.known, context, seed, folder=corpus.rows) if examples else None

    def held_out(self, count: int) -> list[Any]:
        return list(self.measured_on[:count])

    def known(self, example: Example, longest: int) -> Row | tuple[Row, ...] | list[Row]:
        """``encode``. UserError, with the example, if the model's table has no row for one of the tokens."""
        made = self.encode(example, longest)
        for row in made if isinstance(made, (tuple, list)) else (made,):
            for ids in (row.ids, row.source or (), row.targets if isinstance(row.targets, list) else ()):
                self.tokenizer.need_rows(ids, example.where)
        return made

    def encode(self, example: Example, longest: int) -> Row | tuple[Row, ...] | list[Row]:
        """The row of an example, the rows of its two answers (a tuple), or several that have nothing to do with one another (a list); cut to ``longest``
        positions where that leaves its answer as it is."""
        raise NotImplementedError


def values_of(example: Example) -> Values:
    """The numbers of an example whose input is not text."""
    return cast(Values, example.input)


def text_row(tokenizer: Tokens, text: str, longest: int) -> tuple[list[int], bool]:
    """(ids, whether it was cut): a text with what stands around one, also where the text is cut."""
    from components.corpus.special_ids import source_ids

    ids = source_ids(tokenizer, text)
    if len(ids) <= longest:
        return ids, False
    after = tokenizer.closes[:longest]
    return [*ids[: longest - len(after)], *after], True
