"""Tasks over conversations: the chat template, which is kept with the run's tokenizer, and answers that continue what was said."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from components.core.errors import UserError
from components.core.signature import Path
from components.core.sockets import Batch
from components.corpus.batches import ids_of
from components.corpus.example import Example, content_of, is_learnt
from components.corpus.example import Message as Said
from components.corpus.rows import LeftOut, Row
from components.corpus.tokens import Tokens
from components.functional.cross_entropy import IGNORED
from components.generation.chat import Template, answer, find_template, template_of
from components.generation.conversation import Message
from components.generation.fitting import fitted
from components.generation.streaming import text_of
from components.training.task._answers import Answering
from components.training.task._examples import FromExamples

# where neither the run nor its tokenizer brings one: instruction and answer under headings, as Alpaca has them, and likewise tools, calls as JSON, and
# what tools answer
PLAIN = (
    "{{ endoftext_token }}{% if tools %}### Tools:\n{% for t in tools %}{{ t.function | tojson }}\n{% endfor %}{{ '\n' }}{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'system' %}{{ m.content }}\n\n"
    "{% elif m.role == 'user' %}### Instruction:\n{{ m.content }}\n\n"
    "{% elif m.role == 'tool' %}### Result:\n{{ m.content }}\n\n"
    "{% elif m.role == 'assistant' %}### Answer:\n{% generation %}{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}{{ '\n' if m.content or not loop.first }}### Call:\n{{ c.function | tojson }}{% endfor %}"
    "{{ eos_token }}{% endgeneration %}\n\n"
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

    def shown(self, messages: Sequence[Message], example: Example, first: int = 0) -> list[list[tuple[list[int], bool]]]:
        """The messages of an example, with its tools, in rows of pieces: (ids, whether the model is to learn to write them).

        There are several rows where the template writes earlier answers otherwise once later ones are there; one without an answer that is learnt is
        left out. ``first``: the number of the first message that may be learnt.

        Raises:
            LeftOut: the template cannot show them, and ``data.abnormal`` drops such rows.
            UserError: it cannot show them.
        """
        try:
            frames = self.words.frames(fitted(self.words, messages, example.tools), example.tools)
            learnt = {i for i, m in enumerate(messages) if i >= first and is_learnt(m)}
            rows = [[(ids, number in learnt) for ids, number in frame] for frame in frames]
            return [row for row in rows if any(own for _, own in row)] or rows[-1:]
        except UserError as e:
            abnormal = self.config["data"].get("abnormal")
            if abnormal == "drop":
                raise LeftOut(f"{e.where} {e.what}") from None
            instead = (e.instead, "data.abnormal=drop leaves such rows out" if abnormal else "")
            raise UserError(example.where, f"{e.where} {e.what}", "; ".join(filter(None, instead))) from None

    def held_out(self, count: int) -> list[Example]:
        """Each conversation once, however many rows it has: they stand one after another."""
        found: list[Example] = []
        for example in self.measured_on:
            if len(found) == count:
                break
            if not found or example != found[-1]:
                found.append(example)
        return found

    def replies(self, conversations: Sequence[Sequence[Message]], examples: Sequence[Example]) -> list[str]:
        """What the model answers to each conversation, which belongs to an example with its tools."""
        made = []
        for messages, example in zip(conversations, examples):
            said = fitted(self.words, messages, example.tools)
            options = {"max_new_tokens": self.sample_tokens, "seed": self.config["seed"], "tools": example.tools}
            made.append(answer(self.placed, self.tokenizer, self.config, said, self.words, **options))
        return made


class Replying(Conversing, Answering):
    """The base of tasks over conversations that end with an answer."""

    def encode(self, example: Example, longest: int) -> Row | list[Row]:  # noqa: ARG002  half a conversation has no end
        rows = [row_of(pieces) for pieces in self.shown(conversation_of(example), example)]
        return rows[0] if len(rows) == 1 else rows

    def asked_and_answer(self, example: Example) -> tuple[str, str]:
        before, reply = last_turn(example)
        question = content_of(before[-1]) if before else ""
        if not reply.get("tool_calls"):
            return question, content_of(reply)
        *_, written = (ids for ids, own in self.shown([*before, reply], example)[-1] if own)
        ends = self.ends()
        return question, text_of(self.tokenizer, [], [i for i in written if i not in ends])

    def prompts_in(self, batch: Batch) -> tuple[list[list[int]], list[list[int]] | None]:
        """Each conversation up to its last answer; without targets each row is one, up to an answer."""
        if batch.targets is None:
            return ids_of(batch), None
        return [row[: int(i) + 1] for row, i in zip(ids_of(batch), last_answers(batch.targets))], None

    def ends(self) -> Sequence[int]:
        return self.words.ends()

    def ask(self, examples: list[Any]) -> list[str]:
        return self.replies([last_turn(e)[0] for e in examples], examples)


def row_of(pieces: Sequence[tuple[list[int], bool]]) -> Row:
    """The row of a conversation in pieces: what is to be learnt is asked."""
    ids = [token for piece, _ in pieces for token in piece]
    asked = [said for piece, said in pieces for _ in piece]
    return Row(ids[:-1], [i if a else IGNORED for i, a in zip(ids[1:], asked[1:])])


def last_answers(targets: Tensor) -> Tensor:
    """(B,) the position of the first target of each row's last answer; 0 in a row without any."""
    asked = (targets != IGNORED).long()
    begins = (asked - asked.roll(1, 1)).clamp(min=0)  # 1 where an answer begins: what the model reads there is before it
    begins[:, 0] = asked[:, 0]
    return (begins * (1 + torch.arange(asked.shape[1], device=asked.device))).argmax(1)


def template_for(tokenizer: Tokens, file: str | None) -> str:
    """The template in ``file``, else the tokenizer's own, else plain headings."""
    try:
        return find_template(tokenizer, file)[0]
    except UserError:
        if file is not None:
            raise
        return PLAIN


def conversation_of(example: Example) -> list[Said]:
    """The messages of a conversation, or those of a preference's prompt."""
    return cast("list[Said]", list(example.input))


def last_turn(example: Example) -> tuple[list[Said], Said]:
    """(the messages before the last answer that is learnt, that answer)."""
    messages = conversation_of(example)
    at = max(i for i, m in enumerate(messages) if is_learnt(m))
    return messages[:at], messages[at]
