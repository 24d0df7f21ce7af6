"""A conversation as chat templates read it: messages and tools in the form of OpenAI's interface, as transformers hands them to a template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

from components.core import files
from components.core.errors import UserError
from components.corpus.example import Tool as Tool

# role (system, developer, user, assistant, tool) and content: a text or a list of {"type": "text", "text": ...}; an assistant's may have tool_calls
# instead, [{"function": {"name": ..., "arguments": {...}}}], and reasoning_content besides
Message = Mapping[str, object]
A_TOOL = '{"type": "function", "function": {"name": ..., "description": ..., "parameters": {...}}}'
T = TypeVar("T")
REASONING = (
    "reasoning_content",
    "thinking",
    "reasoning",
)  # names for it in templates and interfaces; the first is the usual one


def check_message(message: object) -> None:
    """UserError if it is not a message of text, or of calls of tools."""
    held = message if isinstance(message, Mapping) else {}
    content, calls = held.get("content"), held.get("tool_calls")
    said = isinstance(content, str) or (content is None and isinstance(calls, list) and bool(calls)) or _is_parts(content)
    called = calls is None or (isinstance(calls, list) and all(isinstance(call, Mapping) for call in calls))
    if not (isinstance(held.get("role"), str) and said and called):
        raise UserError("chat", f"{message!r:.60} is not a text message", 'it is {"role": "user", "content": "..."}')


def _is_parts(content: object) -> bool:
    return isinstance(content, list) and all(
        isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in content
    )


def check_tool(tool: object, where: str = "chat") -> None:
    """UserError if it does not describe a function."""
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise UserError(where, f"{tool!r:.60} is not a tool", f"it is {A_TOOL}")


def tools_in(file: str | Path) -> list[Tool]:
    """The tools in a JSON file. UserError if it holds no list of them."""
    found = files.parse_json(files.read_text(Path(file).expanduser()), str(file))
    if not isinstance(found, list):
        raise UserError(str(file), f"is no list of tools but {type(found).__name__}", f"each of them: {A_TOOL}")
    for tool in found:
        check_tool(tool, str(file))
    return found


def as_given(messages: Sequence[Message]) -> list[dict[str, object]]:
    """What a template sees: fields that hold nothing are left out, the weight in training too, and reasoning has each of its two usual names."""
    made = []
    for message in messages:
        held = {key: value for key, value in message.items() if value is not None and key != "weight"}
        reasoning = next((held[name] for name in REASONING if name in held), None)
        made.append(held if reasoning is None else {"thinking": reasoning, **held, "reasoning_content": reasoning})
    return made


class Names:
    """Names of special tokens in a conversation, hidden while a template writes: they stay ordinary text.

    A placeholder is made of private-use characters around a number that no text of the conversation contains.

    Args:
        names: matches them; None: there are none.
        given: everything that the template is given.
    """

    def __init__(self, names: re.Pattern[str] | None, given: object) -> None:
        self.names = names
        self.hidden: dict[str, str] = {}  # {placeholder: name}
        texts = list(texts_of(given)) if names is not None else []
        self.found = names is not None and any(map(names.search, texts))
        self.key = 0
        while self.found and any(f"\ue000{self.key}." in text for text in texts):
            self.key += 1

    def hide(self, given: T) -> T:
        """The same with a placeholder for each name in its texts. The keys of mappings stay: they are the words of a form."""
        if not self.found:
            return given
        return cast(T, self._without(given))

    def _without(self, value: object) -> object:
        if isinstance(value, str):
            assert self.names is not None
            return self.names.sub(self._mark, value)
        if isinstance(value, Mapping):
            return {key: self._without(one) for key, one in value.items()}
        return [self._without(one) for one in value] if isinstance(value, (list, tuple)) else value

    def _mark(self, found: re.Match[str]) -> str:
        mark = f"\ue000{self.key}.{len(self.hidden)}\ue001"
        self.hidden[mark] = found[0]
        return mark


def texts_of(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return [text for one in inner for text in texts_of(one)]
