"""A conversation of a data set in the form that a chat template takes, or what the template cannot show of it.

Templates differ in two things that no field tells: whether arguments of calls are objects, as transformers asks, or the text of one, as OpenAI's
interface sends them; and which names of roles they know. And many leave out what they do not know without a word.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from components.core.errors import UserError
from components.generation.conversation import Message, Tool, texts_of

if TYPE_CHECKING:
    from components.generation.chat import Template

USUAL = {"developer": "system", "function": "tool", "ipython": "tool"}  # names of roles, and what more templates call them
ALWAYS = ("user", "assistant")  # every template shows these


def fitted(template: Template, messages: Sequence[Message], tools: Sequence[Tool] | None) -> Sequence[Message]:
    """The messages in the first form in which the template shows them: arguments as objects or as text, roles as they are or by their usual names.

    Raises:
        UserError: it refuses each form, or leaves out a tool, a call, or a message that is neither the user's nor the assistant's.
    """
    if not tools and not any(m.get("tool_calls") or m["role"] not in ALWAYS for m in messages):
        return messages
    faults: list[UserError] = []  # what is left out says more than what an exception of the template says, and comes first
    for form in forms(messages):
        try:
            template.text(form, answer=False, tools=tools)
            if not (lacking := left_out(template, form, tools)):
                return form
            what = f"shows nothing of {lacking}"
            faults.insert(0, UserError(template.where, what, "take a template that does: task.template=FILE"))
        except UserError as e:
            faults.append(e)
    raise faults[0]


def forms(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """The forms to be tried, those first that transformers' documentation asks for."""
    tried: list[list[Message]] = []
    for usual in ({}, USUAL):
        for written in (_object, _text):
            form = [_with(m, usual, written) for m in messages]
            if form not in tried:
                tried.append(form)
                yield form


def _with(message: Message, usual: Mapping[str, str], written: Callable[[object], object]) -> Message:
    role, calls = str(message["role"]), message.get("tool_calls")
    made = {**message, "role": usual.get(role, role)}
    if isinstance(calls, Sequence) and calls:
        made["tool_calls"] = [_edited(call, "arguments", written) for call in calls]
    return made


def _object(arguments: object) -> object:
    return json.loads(arguments) if isinstance(arguments, str) else arguments


def _text(arguments: object) -> object:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _edited(given: Mapping[str, object], key: str, edit: Callable[[object], object]) -> Mapping[str, object]:
    """A tool or a call with another value under ``key`` of its function."""
    function = given.get("function")
    if not isinstance(function, Mapping):
        return {**given, key: edit(given.get(key))}
    return {**given, "function": {**function, key: edit(function.get(key))}}


def left_out(template: Template, messages: Sequence[Message], tools: Sequence[Tool] | None) -> str:
    """The first thing that the template does not show, though it renders the conversation; empty if it shows all.

    Each thing is given a word of its own, and the words that the template does not write are missing. Words of users and assistants are not asked for:
    templates leave out earlier reasoning with reason.
    """
    marked = Marked([*messages, *(tools or ())])
    offered = None if tools is None else [marked.named(t, f"the tool {_name(t)!r}, which is offered") for t in tools]
    said: list[Message] = []
    for i, message in enumerate(messages):
        calls = message.get("tool_calls")
        if isinstance(calls, Sequence) and calls:
            message = {**message, "tool_calls": [marked.named(c, f"the call of {_name(c)!r} in message {i}") for c in calls]}
        content = message.get("content")
        if message["role"] not in ALWAYS and isinstance(content, str) and content.strip():
            message = {**message, "content": marked.word(f"message {i}, of the role {message['role']!r}")}
        said.append(message)
    try:
        text = template.text(said, answer=False, tools=offered)
    except UserError:  # it looks into what was said, and took that: there is no telling what it leaves out
        return ""
    return next((what for word, what in marked.words.items() if word not in text), "")


class Marked:
    """Words that nothing of a conversation contains, each for one thing that is to be looked for. They are letters, which no template escapes."""

    def __init__(self, given: object) -> None:
        texts = texts_of(given)
        self.stem = "Shown"
        while any(self.stem in text for text in texts):
            self.stem += "x"
        self.words: dict[str, str] = {}  # {word: what it stands for}

    def word(self, what: str) -> str:
        made = f"{self.stem}{len(self.words)}end"
        self.words[made] = what
        return made

    def named(self, given: Mapping[str, object], what: str) -> Mapping[str, object]:
        """A tool or a call under such a word for a name."""
        return _edited(given, "name", lambda _: self.word(what))


def _name(given: Mapping[str, object]) -> object:
    function = given.get("function", given)
    return function.get("name") if isinstance(function, Mapping) else None
