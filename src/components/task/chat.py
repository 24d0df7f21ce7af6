"""Conversations: a chat template, in Jinja as with Hugging Face's tokenizers, turns messages into the ids that a model goes on with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.task.generating import continue_ids, stop_ids
from components.task.streaming import Stream, text_of
from components.terminal import require_text

Message = dict[str, str]  # role (system, user, assistant) and content
PROBE = "an answer"


def find_template(tokenizer: Any, file: str | Path | None = None) -> str:
    """The template in ``file``, else the one that came with the tokenizer.

    Raises:
        UserError: there is none.
    """
    if file is not None:
        try:
            return Path(file).expanduser().read_text(encoding="utf8")
        except (OSError, UnicodeDecodeError) as e:
            raise UserError(str(file), f"cannot be read as a template ({e})", "give a file with a Jinja template") from None
    files = getattr(tokenizer, "files", {})
    if "chat_template.jinja" in files:
        return files["chat_template.jinja"]
    found = json.loads(files.get("tokenizer_config.json", "{}")).get("chat_template")
    if isinstance(found, list):  # several, by name
        found = {t.get("name"): t.get("template") for t in found}.get("default")
    if not isinstance(found, str):
        raise UserError("chat", "the tokenizer has no chat template", "give one, a file in Jinja: --template FILE")
    return found


class Template:
    """A chat template: sandboxed, with the functions that transformers gives to one.

    A special token's name in what someone says stays ordinary text: no message can end a turn or begin one.
    """

    def __init__(self, source: str, tokenizer: Any) -> None:
        import jinja2
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(message: str) -> None:
            raise jinja2.TemplateError(message)

        def as_json(x: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
            return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, **more)

        class Generation(jinja2.ext.Extension):
            """{% generation %} marks what training asks for; here it is what stands in it."""

            tags = {"generation"}

            def parse(self, parser: Any) -> Any:
                next(parser.stream)
                return parser.parse_statements(("name:endgeneration",), drop_needle=True)

        extensions = [Generation, loopcontrols]
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
        environment.filters["tojson"] = as_json
        environment.globals.update(raise_exception=refuse, strftime_now=lambda form: datetime.now().strftime(form))
        self.tokenizer, self.faults = tokenizer, (jinja2.TemplateError, TypeError, KeyError)
        self.words = words_of(tokenizer)
        core = tokenizer.core
        self.special = {t.content: i for i, t in core.get_added_tokens_decoder().items() if t.special}
        try:
            self.template = environment.from_string(source)
        except jinja2.TemplateError as e:
            raise UserError("chat template", f"is no Jinja template: {e}") from None

    def text(self, messages: list[Message], *, answer: bool = True) -> str:
        """The conversation as text; with ``answer`` up to where the next answer begins."""
        try:
            return self.template.render(
                messages=messages, tools=None, documents=None, add_generation_prompt=answer, **self.words
            )
        except self.faults as e:
            raise UserError("chat template", f"refuses this conversation: {e}") from None

    def ids(self, messages: list[Message], *, answer: bool = True) -> list[int]:
        """The same as ids."""
        messages, names = self._hidden(messages)
        return self._ids(self.text(messages, answer=answer), names)

    def turns(self, messages: list[Message]) -> list[tuple[list[int], bool]]:
        """The whole conversation in pieces of ids, each with whether it is what a model is to say: an answer and the sign that ends it.

        Each answer is encoded by itself, as what a model says after the ids before it.

        Raises:
            UserError: the template writes the conversation otherwise where an answer is still to come.
        """
        messages, names = self._hidden(messages)
        whole, ends = self.text(messages, answer=False), self.ends()
        pieces: list[tuple[list[int], bool]] = []
        done = 0
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before, through = self.text(messages[:i]), self.text(messages[: i + 1], answer=False)
            if not (whole.startswith(through) and through.startswith(before) and len(before) >= done):
                raise UserError(
                    "chat template",
                    "writes what comes before an answer otherwise when the answer is there",
                    "take one in which what is said later changes nothing before it",
                )
            said = self._ids(through[len(before) :], names)
            over = next((n + 1 for n, token in enumerate(said) if token in ends), len(said))
            pieces += [(self._ids(whole[done : len(before)], names), False), (said[:over], True), (said[over:], False)]
            done = len(through)
        return [*pieces, (self._ids(whole[done:], names), False)]

    def _hidden(self, messages: list[Message]) -> tuple[list[Message], list[str]]:
        """Messages in which names of special tokens are replaced by their numbers in the list."""
        names: list[str] = []

        def hide(found: re.Match[str]) -> str:
            names.append(found[0])
            return f"\ue000{len(names) - 1}\ue001"

        if self.special:
            special = re.compile("|".join(map(re.escape, sorted(self.special, key=len, reverse=True))))
            messages = [{**m, "content": special.sub(hide, m["content"])} for m in messages]
        return messages, names

    def _ids(self, text: str, names: list[str]) -> list[int]:
        made: list[int] = []
        for i, piece in enumerate(re.split("\ue000(\\d+)\ue001", text)):
            made += self.tokenizer.encode(names[int(piece)]) if i % 2 else self._encode(piece)
        return made

    def _encode(self, text: str) -> list[int]:
        """Special tokens are read; none is put before or after, the template has written them."""
        core = self.tokenizer.core
        core.encode_special_tokens = False
        try:
            return core.encode(text, add_special_tokens=False).ids
        finally:
            core.encode_special_tokens = True

    def ends(self) -> tuple[int, ...]:
        """At which ids an answer is over: where a text is, and at the special token that the template writes after an answer."""
        ends = stop_ids(self.tokenizer)
        eos = self.tokenizer.specials.get("eos")
        try:
            after = self.text([{"role": "user", "content": "a"}, {"role": "assistant", "content": PROBE}], answer=False)
        except UserError:
            after = ""
        following = self._encode(after.rpartition(PROBE)[2])[:1] if PROBE in after else []
        own = [i for i in following if i in self.special.values()]
        return tuple(dict.fromkeys([*own, *([] if eos is None else [eos]), *ends]))


def words_of(tokenizer: Any) -> dict[str, str]:
    """``bos_token``, ``eos_token``, ... as templates name them."""
    held = json.loads(getattr(tokenizer, "files", {}).get("tokenizer_config.json", "{}"))
    stated = {n: t.get("content") if isinstance(t, dict) else t for n, t in held.items() if n.endswith("_token")}
    named = {f"{role}_token": name for role, name in tokenizer.roles.items()}
    return {**named, **{n: t for n, t in stated.items() if isinstance(t, str)}}


def answer(
    model: Any,
    tokenizer: Any,
    config: dict[str, Any],
    messages: list[Message],
    template: Template,
    *,
    max_new_tokens: int = 512,
    seed: int = 0,
    on_text: Callable[[str], None] | None = None,
    prefill_chunk: int | None = None,
) -> str:
    """What the model answers to a conversation."""
    require_text("message", messages)
    ends = template.ends()
    (new,) = continue_ids(
        model,
        tokenizer,
        config,
        [template.ids(messages)],
        seeds=[(seed, 0)],
        ends=ends,
        max_new_tokens=max_new_tokens,
        on_token=None if on_text is None else Stream(tokenizer, ends, on_text, []),
        prefill_chunk=prefill_chunk,
    )
    return text_of(tokenizer, [], new)
