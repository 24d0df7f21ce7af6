"""The prompt shows what is asked for; nothing is trained.

Brown et al. 2020 (GPT-3), arXiv:2005.14165
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from components.core.errors import UserError
from components.core.makers import Maker, make
from components.core.registry import register
from components.core.signature import NonNegative, Positive
from components.core.traits import gives_examples
from components.corpus.evaluation_api import Better, EvalData, EvaluatedModel, Figure, mean_with_error, sample, top1_credit
from components.corpus.example import Example, content_of, is_conversation

WHERE = "evaluation.few_shot"


@register("evaluation", "few_shot")
class FewShot:
    """k examples with their answers in the prompt, then one without: the share of right answers.

    Where answers are labels, each label is scored as the answer; else the model writes, as the run's decoding
    chooses (``decoding=greedy``), and what it writes up to what follows an answer is compared. ``most_frequent`` is what always giving one
    answer gets at best; ``examples`` how many stand in a prompt on average: those that the model's context has no room for are left out.

    Args:
        k: examples in each prompt, drawn for each question; of the run's own data from the training split.
        count: questions.
        data: a source of labels, pairs or conversations, which is not split: the run may have read it; null: the run's own data.
        template: an example as text; ``{input}`` comes before ``{answer}``, and what follows ends it.
        choose_by: which label is the model's. gain: the one that the prompt makes likelier by the largest factor than it is alone, where a label of
            fewer tokens has no advantage (section 2.4 of the paper); likelihood: the likeliest.
        max_new_tokens: of an answer that is written.
        seed: of what is drawn.
    """

    asks = ("likelihood", "writing", "examples")
    gives: Mapping[str, Better] = {"accuracy": "higher", "most_frequent": None, "examples": None}

    def __init__(
        self,
        *,
        k: NonNegative = 5,
        count: Positive = 100,
        data: Maker["data"] | None = None,
        template: str = "{input} => {answer}\n",
        choose_by: Literal["gain", "likelihood"] = "gain",
        max_new_tokens: Positive = 60,
        seed: int = 0,
    ) -> None:
        question, answer, self.end = template.partition("{answer}")
        self.head, there, self.between = question.partition("{input}")
        if not answer or not there:
            raise ValueError(f"template={template!r} needs {{input}}, and {{answer}} after it")
        if not self.end:
            raise ValueError(f"template={template!r} needs something after {{answer}}, where an answer ends")
        self.k, self.count, self.max_new_tokens, self.seed = k, count, max_new_tokens, seed
        self.choose_by = choose_by
        self.data = None if data is None else make(data, "data")
        if self.data is not None:
            self.asks = ("likelihood", "writing")

    def measure(self, model: EvaluatedModel, held: EvalData) -> dict[str, Figure]:
        questions, shown, labels = self.material(held)
        if len(shown) < self.k:
            raise UserError(
                f"{WHERE}.k", f"there are {len(shown)} examples for prompts, not {self.k}", "take fewer, or other data"
            )
        asked = []
        for question in questions:
            if (prompt := self.prompt(model, question, shown, labels)) is not None:
                asked.append((question[1], *prompt))
        if not asked:
            raise UserError(WHERE, "no question fits into the model's context", "take a model with a longer one")
        hits = self.scored(model, asked, labels) if labels else self.written(model, asked)
        common = Counter(answer for answer, _, _ in asked).most_common(1)[0][0]
        return {
            "accuracy": mean_with_error(hits, chance=1 / len(labels) if labels else None),
            "most_frequent": mean_with_error([answer == common for answer, _, _ in asked]),
            "examples": Figure(sum(n for _, _, n in asked) / len(asked), count=len(asked)),
        }

    def material(self, held: EvalData) -> tuple[list[tuple[str, str]], Sequence[tuple[str, str]], list[str]]:
        """(questions, examples to show, labels), no question among those that are shown."""
        if self.data is None:
            asked, shown, labels = held.examples(), held.shown(), list(held.labels)
        else:
            if not gives_examples(self.data):
                raise UserError(
                    f"{WHERE}.data", "the source has text, and no examples", "take one of labels, pairs or conversations"
                )
            every = list({repr(e.input): e for e in self.data.examples()}.values())
            order = random.Random(self.seed)
            order.shuffle(every)
            asked, shown = every[: self.count], every[self.count :]
            labelled = "labels" in self.data.provides
            labels = sorted({str(e.answer) for e in every if e.answer}) if labelled else []
        questions = [pair_of(e) for e in sample(asked, self.count, self.seed)]
        return questions, Pairs(shown), labels

    def prompt(
        self, model: EvaluatedModel, question: tuple[str, str], shown: Sequence[tuple[str, str]], labels: list[str]
    ) -> tuple[str, int] | None:
        """(the prompt up to where the answer begins, how many examples are in it), or None where even the question is too long."""
        asked = self.head + question[0] + self.between
        longest = max((*labels, question[1]), key=len) + self.end
        chosen = random.Random(f"{self.seed} {question[0]}").sample(shown, self.k)
        for first in range(self.k + 1):
            before = "".join(self.head + given + self.between + answer + self.end for given, answer in chosen[first:])
            if model.fit(before, [asked + longest]) == [before + asked + longest]:
                return before + asked, self.k - first
        return None

    def scored(self, model: EvaluatedModel, asked: list[tuple[str, str, int]], labels: list[str]) -> list[float]:
        choices = [[answer, *(other for other in labels if other != answer)] for answer, _, _ in asked]
        texts = [prompt + label + self.end for (_, prompt, _), own in zip(asked, choices) for label in own]
        alone = dict(zip(labels, model.score([self.between + label + self.end for label in labels])))
        scores, n = model.score(texts), len(labels)
        if self.choose_by == "gain":
            scores = [score - alone[label] for score, label in zip(scores, (label for own in choices for label in own))]
        return [top1_credit(scores[at : at + n]) for at in range(0, len(scores), n)]

    def written(self, model: EvaluatedModel, asked: list[tuple[str, str, int]]) -> list[float]:
        prompts = [prompt for _, prompt, _ in asked]
        texts = model.write(prompts, max_new_tokens=self.max_new_tokens, seed=self.seed, stop=[self.end])
        return [float(text.strip() == answer.strip()) for text, (answer, _, _) in zip(texts, asked)]


class Pairs(Sequence[tuple[str, str]]):
    """``pair_of`` each example, once it is drawn: a training split is large, and few of it stand in prompts."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, number: Any) -> Any:
        return pair_of(self.examples[number])


def pair_of(example: Example) -> tuple[str, str]:
    """(what is asked, the answer), of a conversation its last turn. UserError for numbers."""
    given, answer = example.input, example.answer
    if isinstance(given, str) and isinstance(answer, str):
        return given, answer
    if is_conversation(given):
        at = max(i for i, m in enumerate(given) if m["role"] == "assistant")
        asked = next((content_of(m) for m in reversed(given[:at]) if m["role"] == "user"), "")
        return asked, content_of(given[at])
    raise UserError(WHERE, f"{example.where}: inputs or answers are numbers, which no prompt holds", "take data of texts")
