"""A trained model as evaluations use it: likelihood of texts, next tokens, written texts, labels of inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from components.core.traits import why_cannot_generate
from components.corpus.evaluation_api import Prediction
from components.corpus.example import Example
from components.corpus.rows import Rows
from components.corpus.special_ids import first_ids
from components.corpus.steps import EvalBatches
from components.generation.generating import generate, restrict_vocab, together
from components.generation.scoring import ROWS, score
from components.parts.decoding._loop import evaluating
from components.runs.task_module import ExampleTask, LoadedModel, TaskModule

WIDEST = 32  # assumed largest length of a token, when a long text is cut


class Trained:
    """``evaluation_api.EvaluatedModel`` for a loaded run and its task."""

    def __init__(self, loaded: LoadedModel, task: TaskModule) -> None:
        self.model, self.tokenizer, self.config, self.task = loaded.model, loaded.tokenizer, loaded.config, task
        self.limit: int = self.model.context_length
        self.labelled: bool = task.labelled
        self.begins = first_ids(self.tokenizer)

    def refusal(self, word: str) -> str:
        """Why the model cannot be asked for ``word``; empty if it can."""
        if word == "predictions" and self.labelled:
            return ""
        reason = why_cannot_generate(self.model)
        return f"the model continues no text: {reason}" if reason else ""

    def fit(self, before: str, texts: Sequence[str]) -> list[str] | None:
        if not self._fits("", texts):
            return None
        most = self.limit * WIDEST
        if len(before) <= most and self._fits(before, texts):
            return [before + text for text in texts]
        low, high = 0, min(len(before), most)  # the last ``low`` characters of ``before`` fit, the last ``high`` do not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._fits(before[-middle:], texts) else (low, middle)
        kept = before[len(before) - low :]
        words = kept[len(kept) - len(kept.lstrip()) :] if kept[:1].isspace() else kept.partition(" ")[2]
        kept = words if words and self._fits(words, texts) else kept  # do not begin inside a word
        return [kept + text for text in texts]

    def _fits(self, before: str, texts: Sequence[str]) -> bool:
        return all(len(self.begins) + len(self.tokenizer.encode(before + text)) <= self.limit for text in texts)

    def score(self, texts: Sequence[str]) -> list[float]:
        known = {text: 0.0 for text in texts}  # each is scored once, however often it is asked for
        known.update((found.text, found.log_probability) for found in score(self.model, self.tokenizer, list(known)))
        return [known[text] for text in texts]

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self.tokenizer.encode_batch(texts)]

    def write(
        self, prompts: Sequence[str], *, samples: int = 1, max_new_tokens: int, seed: int, stop: Sequence[str] = ()
    ) -> list[str]:
        texts = generate(
            self.model,
            self.tokenizer,
            self.config,
            list(prompts),
            count=samples,
            max_new_tokens=max_new_tokens,
            seed=seed,
            stop=stop,
        )
        own = [self.tokenizer.decode(self.tokenizer.encode(prompt)) for prompt in prompts for _ in range(samples)]
        return [text[len(prompt) :] for text, prompt in zip(texts, own)]

    def predict(self, items: Sequence[str] | Sequence[Example]) -> list[list[Prediction]]:
        if self.labelled:
            return self._labels(cast(Sequence[Example], items))
        rows = list(self._rows(cast(Sequence[str], items)))
        made: list[list[Prediction]] = [[] for _ in rows]
        order, known = sorted(range(len(rows)), key=lambda i: len(rows[i][1])), max(len(self.begins), 1)
        with torch.inference_mode(), evaluating(self.model):
            device, model = next(self.model.parameters()).device, restrict_vocab(self.model, self.tokenizer)
            for at in range(0, len(order), ROWS):
                some = order[at : at + ROWS]
                batch = together([rows[i][1] for i in some], device, left=False)
                for i, own in zip(some, predictions(model(batch)[:, :-1], batch.ids[:, 1:])):
                    made[i] = own[known - 1 : len(rows[i][1]) - 1]
        found: list[list[Prediction]] = [[] for _ in items]
        for (number, _), own in zip(rows, made):
            found[number] += own
        return found

    def _rows(self, texts: Sequence[str]) -> Iterator[tuple[int, list[int]]]:
        """(number of the text, ids) of pieces that fit the context, each with the ids that begin a document."""
        step = self.limit - len(self.begins)
        for number, ids in enumerate(self.tokenizer.encode_batch(texts)):
            for at in range(0, len(ids), step):
                yield number, [*self.begins, *ids[at : at + step]]

    def _labels(self, examples: Sequence[Example]) -> list[list[Prediction]]:
        rows = Rows("measured", examples, cast(ExampleTask, self.task).encode, self.limit)
        device, made = next(self.model.parameters()).device, []
        with torch.inference_mode(), evaluating(self.model):
            for item in EvalBatches(rows, self.task.batch_size, 0, 1, self.task.documents == "apart"):
                batch = item.batch.to(device)
                assert batch.targets is not None  # a row of labels has one
                made += predictions(self.model(batch)[:, None], batch.targets[:, None])
        return made[: rows.n_blocks]


def predictions(logits: Tensor, targets: Tensor) -> list[list[Prediction]]:
    """Predictions from logits (B, T, V) and the right answers (B, T). ``rank`` counts the answers that are likelier than the right one."""
    logits = logits.float()
    right = logits.gather(2, targets.clamp(min=0)[..., None])
    confidence = (logits.amax(-1) - logits.logsumexp(-1)).exp()
    rank = (logits > right).sum(-1)
    return [[Prediction(c, r) for c, r in zip(*row)] for row in zip(confidence.tolist(), rank.tolist())]
