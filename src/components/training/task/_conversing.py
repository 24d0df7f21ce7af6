"""Tasks over conversations: the chat template, which is kept with the run's tokenizer, and answers that continue what was said."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from components.core.errors import UserError
from components.core.signature import Path
from components.core.sockets import Batch
from components.corpus.batches import ids_of
from components.corpus.example import Example
from components.corpus.rows import LeftOut, Row
from components.functional.cross_entropy import IGNORED
from components.generation.chat import Template, answer, find_template, template_of
from components.generation.conversation import Message
from components.training.task._answers import Answering
from components.training.task._examples import FromExamples

# where neither the run nor its tokenizer brings one: instruction and answer under headings, as Alpaca has them
PLAIN = (
    "{{ endoftext_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ m.content }}\n\n"
    "{% elif m.role == 'user' %}### Instruction:\n{{ m.content }}\n\n"
    "{% else %}### Answer:\n{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}\n\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}### Answer:\n{% endif %}"
)
TEMPLATE = "chat_template.jinja"


class Conversing(FromExamples):
    """The base of tasks whose examples are written by a chat template.

    Args:
        template: a file with a chat template in Jinja; null: the tokenizer's own, else headings for instruction and answer. It is kept with
            the run's tokenizer, for ``components chat``.
    """

    template: Path | None = None

    @cached_property
    def words(self) -> Template:
        """The chat template, with the tokenizer's own words."""
        return template_of(self.tokenizer)

    @classmethod
    def prepare(cls, source: Any, tokenizer: Any, options: dict[str, Any], cache: Any, progress: Any) -> Any:
        made = super().prepare(source, tokenizer, options, cache, progress)
        made.tokenizer.files[TEMPLATE] = template_for(made.tokenizer, options["template"])
        return made

    def shown(self, messages: Sequence[Message], example: Example) -> list[tuple[list[int], bool]]:
        """The messages of an example in pieces: (ids, whether the model is to write them).

        Raises:
            LeftOut: the template cannot show them, and ``data.abnormal`` drops such rows.
            UserError: it cannot show them.
        """
        try:
            return self.words.turns(messages)
        except UserError as e:
            abnormal = self.config["data"].get("abnormal")
            if abnormal == "drop":
                raise LeftOut(f"{e.where} {e.what}") from None
            instead = "data.abnormal=drop leaves such rows out" if abnormal else e.instead
            raise UserError(example.where, f"{e.where} {e.what}", instead) from None


class Replying(Conversing, Answering):
    """The base of tasks over conversations that end with an answer."""

    def encode(self, example: Example, longest: int) -> Row:  # noqa: ARG002  half a conversation has no end
        pieces = self.shown([dict(m) for m in example.input], example)  # type: ignore[arg-type]  # a conversation's input is its messages
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
        return [row[: int(i) + 1] for row, i in zip(ids_of(batch), last_answers(batch.targets))], None

    def ends(self) -> Sequence[int]:
        return self.words.ends()

    def ask(self, examples: list[Any]) -> list[str]:
        options = {"max_new_tokens": self.sample_tokens, "seed": self.config["seed"]}
        return [answer(self.placed, self.tokenizer, self.config, last_turn(e)[0], self.words, **options) for e in examples]


def last_answers(targets: Tensor) -> Tensor:
    """(B,) the position of the first target of each row's last answer; 0 in a row without any."""
    asked = (targets != IGNORED).long()
    begins = (asked - asked.roll(1, 1)).clamp(min=0)  # 1 where an answer begins: what the model reads there is before it
    begins[:, 0] = asked[:, 0]
    return (begins * (1 + torch.arange(asked.shape[1], device=asked.device))).argmax(1)


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
    messages: list[dict[str, str]] = [dict(m) for m in example.input]  # type: ignore[arg-type,misc]  # likewise
    at = max(i for i, m in enumerate(messages) if m["role"] == "assistant")
    return messages[:at], messages[at]["content"]
