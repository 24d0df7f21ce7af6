"""Tasks over packed documents: rows of one length, cut from documents that lie end to end."""

from __future__ import annotations

from typing import Any, Literal

from components.core.signature import Positive, Probability
from components.corpus import prepare
from components.corpus.blocks import Blocks, EvaluationBlocks
from components.training.objectives import reads_whole
from components.training.task._training import Training


class Documents(Training):
    """The base of tasks that read packed documents.

    Args:
        batch_size: sequences per optimizer step, over all devices and micro-batches.
        batch_tokens: tokens per optimizer step instead; rounded down to whole sequences.
        documents: whether packed documents are apart or see one another.
        validation_fraction: share of the documents held out for validation.
        test_fraction: share of the documents held out for a final test.
        max_chars: longer documents are cut into pieces of so many characters.
        near_duplicates: how alike two documents are (0.8: four of five runs of five words) of which the later is left out, by MinHash; null: only what
            is equal is. Needs datasketch.
        validation_batches: at most so many batches (of batch_size sequences) per validation; null takes the whole split.
    """

    test_fraction = 0.05
    batch_tokens: Positive | None = None
    documents: Literal["apart", "together"] = "apart"
    max_chars: Positive = 1000000
    near_duplicates: Probability | None = None

    @classmethod
    def prepare(cls, source: Any, tokenizer: Any, options: dict[str, Any], cache: Any, progress: Any) -> Any:
        return prepare(
            source,
            tokenizer,
            cache=cache,
            validation=options["validation_fraction"],
            test=options["test_fraction"],
            max_chars=options["max_chars"],
            near_duplicates=options["near_duplicates"],
            progress=progress,
        )

    def blocks(self, corpus: Any, split: str, context: int, seed: int | None = None) -> Any:
        found = getattr(corpus, split)
        whole = reads_whole(self.loss)
        if seed is not None:
            return Blocks(found, context, seed, whole=whole)
        return EvaluationBlocks(found, context, whole=whole) if len(found.tokens) else None
