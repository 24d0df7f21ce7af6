"""Preference tuning: of two answers to a prompt, one was preferred, and the model learns to prefer it too.

Rafailov et al. 2023, arXiv:2305.18290, and what followed; each loss names its paper.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from torch import Tensor
from torchmetrics import MeanMetric

from components.core.errors import UserError
from components.core.registry import register
from components.core.signature import NonNegative, Path, Positive
from components.core.sockets import Batch, Terms
from components.corpus.example import Example
from components.corpus.pairs import PairRows
from components.corpus.rows import Row
from components.functional.cross_entropy import IGNORED
from components.generation.chat import Template, answer, template_of
from components.training.task._compared import Compared
from components.training.task._examples import FromExamples
from components.training.task.instruction_tuning import TEMPLATE, template_for


@register("task", "preference_tuning")
class PreferenceTuning(Compared, FromExamples):
    """Learn which of two answers is preferred. A step's loss is one mean over its pairs; the prompt is read, and never asked for.

    Besides the loss, ``margin`` (how much higher the reward of the chosen answer is), ``preferred`` (in which share of pairs it is higher) and,
    where the loss compares with a reference, ``kl`` are measured, in training and in validation. The reference is the model as it was at the
    start: without its adapter if nothing but the adapter learns, else a second copy in memory.

    Args:
        batch_size: pairs per optimizer step, over all devices and micro-batches; a pair with an answer that is longer than the model reads is left out.
        template: a file with a chat template in Jinja; null: the tokenizer's own, else headings for instruction and answer. It is kept with
            the run's tokenizer, for ``components chat``.
        keep_reference: ask the reference once for each pair and keep the two numbers, instead of at each step.
        samples: answers that are shown and kept after each validation.
        sample_tokens: at most so many tokens in each answer.
    """

    needs = {"data": ("preferences",), "loss": ("pairs",)}
    refuses = {"model": ("causal",)}

    template: Path | None = None
    keep_reference: bool = False
    samples: NonNegative = 2
    sample_tokens: Positive = 120

    @cached_property
    def words(self) -> Template:
        """The chat template, with the tokenizer's own words."""
        return template_of(self.tokenizer)

    @classmethod
    def prepare(cls, source: Any, tokenizer: Any, options: dict[str, Any], cache: Any, progress: Any) -> Any:
        made = super().prepare(source, tokenizer, options, cache, progress)
        made.tokenizer.files[TEMPLATE] = template_for(made.tokenizer, options["template"])
        return made

    def blocks(self, corpus: Any, split: str, context: int, seed: int | None = None) -> Any:
        rows = super().blocks(corpus, split, context)
        return None if rows is None else PairRows(rows, seed)

    def encode(self, example: Example, longest: int) -> tuple[Row, ...]:  # noqa: ARG002  half an answer has no end
        return tuple(self.answered(example, messages) for messages in example.answers)

    def answered(self, example: Example, said: Any) -> Row:
        """Prompt and answer up to its end: nothing is asked of the prompt, and nothing after the last target is read."""
        prompt: Any = example.input
        try:
            pieces = self.words.turns([dict(m) for m in (*prompt, *said)])
        except UserError as e:
            raise UserError(example.where, f"{e.where} {e.what}", e.instead) from None
        # answers within the prompt are the same in both
        skip = sum(m["role"] == "assistant" for m in prompt)
        ids: list[int] = []
        asked: list[bool] = []
        for piece, own in pieces:
            skip -= own
            ids += piece
            asked += [own and skip < 0] * len(piece)
        end = len(asked) - asked[::-1].index(True)
        return Row(ids[: end - 1], [i if a else IGNORED for i, a in zip(ids[1:end], asked[1:end])])

    # -- measures ----------------------------------------------------------------------------------------------------

    def measures(self) -> dict[str, Any]:
        names = ("margin", "preferred", *(("kl",) if self.loss.compares else ()))
        return {name: MeanMetric() for name in names}

    def validation_step(self, item: Any, batch_idx: int) -> None:
        super().validation_step(self.compared(self.taken(item)), batch_idx)

    test_step = validation_step

    def judged_objective(self, hidden: Tensor, head: object, batch: Batch) -> Terms:
        terms = self.objective(hidden, head, batch)
        weight = terms.losses["loss"][1]
        if float(weight):
            for name, meter in self.meters.items():
                meter.update(terms.losses[name][0] / weight, weight)
        return terms

    def write(self, asked: list[Any]) -> tuple[list[str], list[str]]:
        options = {"max_new_tokens": self.sample_tokens, "seed": self.config["seed"]}
        questions = [e.input[-1]["content"] for e in asked]
        prompts = [[dict(m) for m in e.input] for e in asked]
        said = [answer(self.placed, self.tokenizer, self.config, p, self.words, **options) for p in prompts]
        return questions, [f"{q} -> {text}" for q, text in zip(questions, said)]
