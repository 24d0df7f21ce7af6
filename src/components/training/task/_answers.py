"""Answers that a model writes, held against those it should have written: exact match, BLEU and chrF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics.aggregation import MeanMetric

from components.core.collectives import rank, updated
from components.core.errors import UserError
from components.core.signature import NonNegative, Positive
from components.core.sockets import Batch
from components.corpus.special_ids import stop_ids
from components.corpus.steps import MicroBatch
from components.evaluating.bleu import Bleu
from components.evaluating.chrf import ChrF
from components.functional.cross_entropy import IGNORED
from components.generation.generating import texts_after
from components.training.task._examples import FromExamples
from components.training.task._taking import inside


class Answering(FromExamples):
    """The base of tasks whose answers are texts. A task says what is asked and what should be answered (``ask``, ``answers``).

    Besides the share of tokens that would have been the likeliest (``token_accuracy``), ``scored`` held-out examples are answered in each
    validation, by the run's own decoding: ``exact_match`` is the share that equals the answer, ``bleu`` and ``chrf`` (0 to 1) are sacrebleu's.

    Args:
        scored: held-out examples that are answered in each validation, for exact match, BLEU and chrF.
        bleu_tokenize: how BLEU finds words, as in sacrebleu: ``zh`` or ``char`` for writing without spaces, which is one word to ``13a``.
        samples: answers that are shown and kept after each validation.
        sample_tokens: at most so many tokens in each answer.
    """

    scored: NonNegative = 64
    bleu_tokenize: Literal["13a", "intl", "zh", "char", "none"] = "13a"
    samples: NonNegative = 2
    sample_tokens: Positive = 120

    def measures(self) -> dict[str, Any]:
        found: dict[str, Any] = {"token_accuracy": MeanMetric()}
        if self.scored:
            found |= {"exact_match": MeanMetric(), "bleu": Bleu(tokenize=self.bleu_tokenize), "chrf": ChrF()}
        return found

    def observe(self, hidden: Tensor, head: Any, batch: Batch) -> None:
        assert batch.targets is not None
        asked = batch.targets != IGNORED
        if asked.any():
            logits = head(hidden[asked][None])[0]
            hits = logits.argmax(-1) == batch.targets[asked]
            self.meters["token_accuracy"].update(hits.float())

    def ask(self, examples: list[Any]) -> list[str]:
        """What the model writes for each example."""
        raise NotImplementedError

    def asked_and_answer(self, example: Any) -> tuple[str, str]:
        """(what a reader is shown as the question, the answer that should come)."""
        raise NotImplementedError

    def take_metrics(self) -> dict[str, float]:
        """All ranks answer the same examples, since shards are gathered by all of them or by none; one rank counts the answers."""
        if self.scored and updated(self.meters):
            self.score_answers()
        return super().take_metrics()

    def score_answers(self) -> None:
        examples = self.held_out(self.scored)
        said = [text.strip() for text in self.ask(examples)]
        meant = [self.asked_and_answer(e)[1].strip() for e in examples]
        if rank() == 0:
            self.meters["exact_match"].update(torch.tensor([float(a == b) for a, b in zip(said, meant)], device=self.device))
            self.meters["bleu"].update(said, [[m] for m in meant])
            self.meters["chrf"].update(said, meant)

    def prompts_in(self, batch: Batch) -> tuple[list[list[int]], list[list[int]] | None]:
        """(what the model goes on from, what it reads before as its source) for each row, as ids."""
        raise NotImplementedError(f"{type(self).__name__} writes answers, so it must say what they go on from")

    def ends(self) -> Sequence[int]:
        """The ids that end an answer."""
        return stop_ids(self.tokenizer)

    def predict_step(self, item: MicroBatch | Batch | Tensor, batch_idx: int = 0) -> list[str]:
        """The answer to each row, written by the run's own decoding."""
        del batch_idx
        batch = inside(item)
        if not isinstance(batch, Batch):
            raise UserError("predict", "ids alone do not say where an answer begins", "give batches of the data module")
        rows, sources = self.prompts_in(batch)
        options = {"seed": self.config["seed"], "ends": self.ends(), "max_new_tokens": self.sample_tokens}
        return texts_after(self.placed, self.tokenizer, self.config, rows, sources, **options)

    def write(self, asked: list[Any]) -> tuple[list[str], list[str]]:
        questions = [self.asked_and_answer(e)[0] for e in asked]
        return questions, [f"{q} -> {text}" for q, text in zip(questions, self.ask(asked))]
