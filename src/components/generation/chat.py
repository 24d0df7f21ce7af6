"""Conversations: a chat template in Jinja, as Hugging Face's tokenizers have one, turns messages into the ids of a prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from torch import nn

from components.core import files
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.terminal import require_text
from components.corpus.special_ids import stop_ids
from components.corpus.tokens import CONFIG_FILE, TEMPLATE_FILE, Tokens
from components.generation.conversation import Message, Names, Tool, as_given, check_message, check_tool
from components.generation.generating import continue_ids
from components.generation.streaming import Stream, text_of

PROBE = "an answer"
SHOWN = 200  # characters of a template's error that are shown
Frame = list[tuple[list[int], int | None]]  # pieces of a row: ids, and the number of the message that a model is to write there


def find_template(tokenizer: Tokens, file: str | Path | None = None) -> tuple[str, str]:
    """(the template in ``file``, or else the tokenizer's own; the name of its file).

    Raises:
        UserError: the tokenizer has none, and no file is given.
    """
    if file is not None:
        return files.read_text(Path(file).expanduser()), str(file)
    held = tokenizer.files
    if TEMPLATE_FILE in held:
        return held[TEMPLATE_FILE], TEMPLATE_FILE
    found = tokenizer.said(CONFIG_FILE).get("chat_template") if CONFIG_FILE in held else None
    if isinstance(found, list):  # several, by name
        found = {str(t.get("name")): t.get("template") for t in found if isinstance(t, dict)}.get("default")
    if not isinstance(found, str):
        raise UserError("chat", "the tokenizer has no chat template", "give one, a file in Jinja: --template FILE")
    return found, CONFIG_FILE


def template_of(tokenizer: Tokens, file: str | Path | None = None) -> Template:
    """The template that ``find_template`` finds, compiled."""
    source, where = find_template(tokenizer, file)
    return Template(source, tokenizer, where)


class Template:
    """A chat template, sandboxed and bounded, with the functions that transformers gives it. Safe to use from several threads.

    The name of a special token inside a message stays ordinary text, so no message can end or begin a turn.

    Args:
        source: in Jinja.
        tokenizer: encodes what the template writes, special tokens included.
        where: its file, for error messages.
    """

    def __init__(self, source: str, tokenizer: Tokens, where: str = "chat template") -> None:
        from components.generation.sandbox import Sandbox

        def refuse(message: str) -> None:
            raise Refused(str(message))

        def as_json(x: object, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
            return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, **more)

        self.sandbox, self.tokenizer, self.where = Sandbox(), tokenizer, where
        self.sandbox.add_filter("tojson", as_json)
        self.sandbox.globals.update(raise_exception=refuse, strftime_now=lambda form: datetime.now().strftime(form))
        self.words = words_of(tokenizer)
        core = tokenizer.core
        self.special = {t.content: i for i, t in core.get_added_tokens_decoder().items() if t.special}
        named = sorted(filter(None, self.special), key=len, reverse=True)
        self.names = re.compile("|".join(map(re.escape, named))) if named else None
        try:
            self.template = self.sandbox.compiled(source)
        except Exception as e:  # foreign text: parsing and compiling it may raise anything
            raise UserError(where, f"is not a Jinja template: {_said(e)}", "mend it, or give another: --template FILE") from e

    def text(self, messages: Sequence[Message], *, answer: bool = True, tools: Sequence[Tool] | None = None) -> str:
        """The conversation as text, as transformers' ``apply_chat_template`` renders it.

        Args:
            messages: of the conversation.
            answer: up to the beginning of the next answer.
            tools: that the model may call.

        Raises:
            UserError: the template refuses the conversation, fails, or exceeds the bounds of time and memory.
        """
        given = {"messages": as_given(messages), "tools": None if tools is None else list(tools), "documents": None}
        try:
            return self.sandbox.render(self.template, **given, add_generation_prompt=answer, **self.words)
        except Exception as e:  # a foreign program: it may raise anything
            raise UserError(
                self.where, f"refuses this conversation: {_said(e)}", "change the conversation, or the template"
            ) from e

    def ids(self, messages: Sequence[Message], *, answer: bool = True, tools: Sequence[Tool] | None = None) -> list[int]:
        """``text`` as ids."""
        said, offered, names = self._hidden(messages, tools)
        return self._ids(self.text(said, answer=answer, tools=offered), names)

    def frames(self, messages: Sequence[Message], tools: Sequence[Tool] | None = None) -> list[Frame]:
        """The conversation in rows, in each of which some of the answers stand in the text that a model sees before it writes them.

        It is one row where later messages change nothing of the text before them. A template that writes earlier answers otherwise once later ones are
        there (Qwen 3 drops what was thought) needs one more for those: the conversation up to there. Each answer is encoded by itself, as a model
        would write it after the ids before it. A call of tools is an answer too.

        Raises:
            UserError: the template writes the beginning differently once the answer is there.
        """
        messages, tools, names = self._hidden(messages, tools)
        spans: dict[int, tuple[str, str]] = {}
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.text(messages[:i], tools=tools)
            through = self.text(messages[: i + 1], answer=False, tools=tools)
            if not through.startswith(before):
                raise UserError(
                    self.where,
                    "writes the text before an answer differently once the answer is there",
                    "take a template in which an answer follows the text that asks for it",
                )
            spans[i] = before, through
        text, left = self.text(messages, answer=False, tools=tools), list(spans)
        made: list[Frame] = [] if left else [self._frame(text, {}, names)]
        while left:
            held = [i for i in left if text.startswith(spans[i][1])]
            made += [self._frame(text, {i: spans[i] for i in held}, names)] if held else []
            left = [i for i in left if i not in held]
            text = spans[left[-1]][1] if left else ""
        return made[::-1]

    def _frame(self, text: str, answers: Mapping[int, tuple[str, str]], names: dict[str, str]) -> Frame:
        """``text`` in pieces. ``answers``: {number of a message: (the text before it, the same with it)}."""
        ends, done = self.ends(), 0
        pieces: Frame = []
        for number, (before, through) in answers.items():
            said = self._ids(through[len(before) :], names)
            over = next((n + 1 for n, token in enumerate(said) if token in ends), len(said))
            pieces += [(self._ids(text[done : len(before)], names), None), (said[:over], number), (said[over:], None)]
            done = len(through)
        return [*pieces, (self._ids(text[done:], names), None)]

    def _hidden(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None
    ) -> tuple[list[Message], list[Tool] | None, dict[str, str]]:
        """(messages and tools with a placeholder for each name of a special token, {placeholder: name})."""
        for message in messages:
            check_message(message)
        for tool in tools or ():
            check_tool(tool)
        names = Names(self.names, [*messages, *(tools or ())])
        said, offered = names.hide(list(messages)), None if tools is None else names.hide(list(tools))
        return said, offered, names.hidden

    def _ids(self, text: str, hidden: dict[str, str]) -> list[int]:
        if not hidden:
            return self.tokenizer.encode_marked(text)
        made: list[int] = []
        for piece in re.split("(\ue000\\d+\\.\\d+\ue001)", text):
            made += self.tokenizer.encode(hidden[piece]) if piece in hidden else self.tokenizer.encode_marked(piece)
        return made

    def ends(self) -> tuple[int, ...]:
        """The ids that end an answer: those that end a text, and the special token that the template writes after an answer."""
        ends = stop_ids(self.tokenizer)
        eos = self.tokenizer.specials.get("eos")
        try:
            after = self.text([{"role": "user", "content": "a"}, {"role": "assistant", "content": PROBE}], answer=False)
        except UserError:
            after = ""
        following = self.tokenizer.encode_marked(after.rpartition(PROBE)[2])[:1] if PROBE in after else []
        own = [i for i in following if i in self.special.values()]
        return tuple(dict.fromkeys([*own, *([] if eos is None else [eos]), *ends]))


class Refused(Exception):
    """Raised by a template through ``raise_exception``."""


def _said(e: Exception) -> str:
    """The message of a template's or Jinja's exception; for other exceptions with the class in front."""
    text = " ".join(str(e).split())[:SHOWN]
    jinja = type(e).__module__.startswith(("jinja2", "components"))
    return "".join(c if c.isprintable() else "?" for c in (text if jinja and text else f"{type(e).__name__} {text}".strip()))


def words_of(tokenizer: Tokens) -> dict[str, str]:
    """``bos_token``, ``eos_token``, ... as templates name them."""
    held = tokenizer.said(CONFIG_FILE)
    stated = {n: t.get("content") if isinstance(t, dict) else t for n, t in held.items() if n.endswith("_token")}
    named = {f"{role}_token": name for role, name in tokenizer.roles.items()}
    return {**named, **{n: t for n, t in stated.items() if isinstance(t, str)}}


def answer(
    model: nn.Module,
    tokenizer: Tokens,
    config: Config,
    messages: Sequence[Message],
    template: Template,
    *,
    max_new_tokens: int | None = None,
    seed: int = 0,
    on_text: Callable[[str], None] | None = None,
    prefill_chunk: int | None = None,
    tools: Sequence[Tool] | None = None,
) -> str:
    """The model's answer to a conversation, in which it may call ``tools``."""
    require_text("message", messages, tools)
    ends, ids = template.ends(), template.ids(messages, tools=tools)
    tokenizer.need_rows(ids, "chat: the conversation as its template writes it")
    (new,) = continue_ids(
        model,
        tokenizer,
        config,
        [ids],
        seeds=[(seed, 0)],
        ends=ends,
        max_new_tokens=max_new_tokens or tokenizer.most or 512,
        on_token=None if on_text is None else Stream(tokenizer, ends, on_text, []),
        prefill_chunk=prefill_chunk,
    )
    return text_of(tokenizer, [], new)
