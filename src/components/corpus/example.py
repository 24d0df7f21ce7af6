"""One thing with an answer: what sources of labelled, paired, measured and conversational data yield instead of plain documents."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict, TypeGuard

Values = tuple[tuple[float, ...], ...]  # (T, F): T positions of F numbers each
# {"type": "function", "function": {"name": ..., "description": ..., "parameters": a JSON schema}}
Tool = Mapping[str, object]


class Message(TypedDict):
    """One turn of a conversation, in the form of OpenAI's interface, which chat templates read.

    ``role``: system, developer, user, assistant, tool, or another name that a template knows. ``content``: what is said; an assistant that calls tools
    may have none. ``tool_calls``: each ``{"type": "function", "function": {"name": ..., "arguments": an object, or the text of one}}``. ``weight``: 0 where
    an answer is only read, and not to be learnt.
    """

    role: str
    content: NotRequired[str]
    tool_calls: NotRequired[list[Mapping[str, object]]]
    name: NotRequired[str]
    tool_call_id: NotRequired[str]
    reasoning_content: NotRequired[str]
    thinking: NotRequired[str]  # two other names of it in interfaces and templates
    reasoning: NotRequired[str]
    weight: NotRequired[int]


def content_of(message: Message) -> str:
    """What is said in a message; empty where it only calls tools."""
    return message.get("content") or ""


def is_learnt(message: Mapping[str, object]) -> bool:
    """Whether a model is to give this answer itself."""
    return message["role"] == "assistant" and message.get("weight") != 0


def is_conversation(given: object) -> TypeGuard[tuple[Message, ...]]:
    """Whether an example's input holds messages, and at least one."""
    return isinstance(given, tuple) and bool(given) and isinstance(given[0], dict)


def texts_in(message: Message) -> Iterator[str]:
    """Every text of a message: what is said, what was thought before, and calls of tools as JSON."""
    yield content_of(message)
    thought = (message.get("reasoning_content"), message.get("thinking"), message.get("reasoning"))
    yield from filter(None, thought)
    yield from map(as_json, message.get("tool_calls") or ())


def as_json(value: object) -> str:
    """JSON in which letters of every language stand as they are."""
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Example:
    """An input and its answer. All examples with the same input belong to one split.

    Args:
        input: a text, numbers (T, F), or the messages of a conversation.
        answer: a label or a text (str), numbers (a tuple of floats), or None for a conversation, which holds its own answers.
        origin: the file, or another hint where to look.
        line: the line of ``origin``, from 1; 0 where lines have no meaning.
        split: train, validation or test if the source decides; None: a hash of the input decides.
        answers: of a preference, whose input is its prompt: the messages that are chosen, and those that are rejected; none in one of the two places where
            one answer was judged by itself.
        tools: that the assistant of a conversation or a preference may call; None: nothing is said of tools.
    """

    input: str | Values | tuple[Message, ...]
    answer: str | tuple[float, ...] | None
    origin: str
    line: int = 0
    split: str | None = None
    answers: tuple[tuple[Message, ...], ...] = ()
    tools: tuple[Tool, ...] | None = None

    @property
    def where(self) -> str:
        """``file:line``, or the file alone."""
        return f"{self.origin}:{self.line}" if self.line else self.origin
