"""Instruction tuning: conversations in which a model learns to give the answers, and nothing else of them.

Ouyang et al. 2022 (InstructGPT), arXiv:2203.02155, section 3.1; loss on answers alone as in Touvron et al. 2023 (Llama 2), arXiv:2307.09288
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

from components.core.errors import UserError
from components.core.registry import register
from components.core.signature import Path
from components.core.sockets import Batch
from components.corpus.batches import ids_of
from components.corpus.example import Example
from components.corpus.packing import PackedRows
from components.corpus.rows import LeftOut, Row
from components.functional.cross_entropy import IGNORED
from components.generation.chat import Template, answer, find_template, template_of
from components.training.task._answers import Answering

# where neither the run nor its tokenizer brings one: instruction and answer under headings, as Alpaca has them
PLAIN = (
    "{{ endoftext_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ m.content }}\n\n"
    "{% elif m.role == 'user' %}### Instruction:\n{{ m.content }}\n\n"
    "{% else %}### Answer:\n{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}\n\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}### Answer:\n{% endif %}"
)
TEMPLATE = "chat_template.jinja"


@register("task", "instruction_tuning")
class InstructionTuning(Answering):
    """Learn the answers of conversations: the loss is on what the assistant says, up to the sign that ends it, and on nothing else.

    Args:
        template: a file with a chat template in Jinja; null: the tokenizer's own, else headings for instruction and answer. It is kept with
            the run's tokenizer, for ``components chat``.
        packing: put several conversations into a row, apart from one another: less padding, the same loss. A step then has
            ``batch_size`` such rows.
        batch_size: conversations per optimizer step, over all devices and micro-batches; longer ones than the model reads are left out.
        scored: held-out conversations whose last answer is written in each validation, for exact match, BLEU and chrF.
        samples: answers that are shown and kept after each validation.
        sample_tokens: at most so many tokens in each answer.
    """

    needs = {"data": ("conversations",), "loss": ("tokens",)}
    refuses = {"model": ("causal",)}

    template: Path | None = None
    packing: bool = False
    scored = 0

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
        rows = super().blocks(corpus, split, context, seed)
        return (
            PackedRows(rows, seed) if self.packing and seed is not None else rows
        )  # what is measured on stays one example a row

    def encode(self, example: Example, longest: int) -> Row:  # noqa: ARG002  half a conversation has no end
        try:
            pieces = self.words.turns([dict(m) for m in example.input])  # type: ignore[arg-type]
        except UserError as e:
            abnormal = self.config["data"].get("abnormal")
            if abnormal == "drop":
                raise LeftOut(f"{e.where} {e.what}") from None
            instead = "data.abnormal=drop leaves such rows out" if abnormal else e.instead
            raise UserError(example.where, f"{e.where} {e.what}", instead) from None
        ids = [token for piece, _ in pieces for token in piece]
        asked = [said for piece, said in pieces for _ in piece]
        return Row(ids[:-1], [i if a else IGNORED for i, a in zip(ids[1:], asked[1:])])

    def asked_and_answer(self, example: Example) -> tuple[str, str]:
        question, reply = last_turn(example)
        return question[-1]["content"], reply

    def prompts_in(self, batch: Batch) -> tuple[list[list[int]], list[list[int]] | None]:
        """Each conversation up to its last answer; without targets each row is one, up to an answer."""
        if batch.targets is None:
            return ids_of(batch), None
        asked = (batch.targets != IGNORED).long()
        begins = (asked - asked.roll(1, 1)).clamp(min=0)  # 1 where an answer begins: what the model reads there is before it
        begins[:, 0] = asked[:, 0]
        last = (begins * (1 + torch.arange(asked.shape[1], device=asked.device))).argmax(1)
        return [row[: int(i) + 1] for row, i in zip(ids_of(batch), last)], None

    def ends(self) -> Sequence[int]:
        return self.words.ends()

    def ask(self, examples: list[Any]) -> list[str]:
        options = {"max_new_tokens": self.sample_tokens, "seed": self.config["seed"]}
        return [answer(self.placed, self.tokenizer, self.config, last_turn(e)[0], self.words, **options) for e in examples]


def template_for(tokenizer: Any, file: str | None) -> str:
    """The template in ``file``, else the tokenizer's own, else plain headings."""
    try:
        return find_template(tokenizer, file)[0]
    except UserError:
        if file is not None:
            raise
        return PLAIN


def last_turn(example: Example) -> tuple[list[dict[str, str]], str]:
    """(the messages before the last answer, that answer)."""
    messages: list[dict[str, str]] = [dict(m) for m in example.input]  # type: ignore[arg-type,misc]
    at = max(i for i, m in enumerate(messages) if m["role"] == "assistant")
    return messages[:at], messages[at]["content"]
