"""A row as a conversation, in the forms that instruction and chat data come in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, get_args

from components.core.errors import UserError, nearest
from components.corpus.example import Example, Message
from components.parts.data._tables import Row
from components.parts.data._tools import calls_in_text, calls_of, tools_of

ROLES = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "ipython": "ipython",
    "function": "function",
    "observation": "tool",
    "tool_response": "tool",
    "function_response": "tool",
}
Beside = Literal["name", "tool_call_id", "reasoning_content", "thinking", "reasoning"]
BESIDE: tuple[Beside, ...] = get_args(Beside)
CALLING = "function_call"  # ShareGPT's turn whose text is a call as JSON
LISTS = ("messages", "conversations", "conversation")  # OpenAI's field, ShareGPT's, and a usual variant of it
QUESTIONS = {"instruction": "output", "prompt": "completion"}  # Alpaca's fields, and those of OpenAI's older files
FORM = 3  # of what is read from a row, for fingerprints; 1 knew no tools, 2 no weights
OnFault = Literal["refuse", "drop"]


def conversations(rows: Iterator[tuple[str | None, Row]], abnormal: OnFault, notes: list[str]) -> Iterator[Example]:
    """Every row as a conversation; ``notes`` says at the end which were dropped because they hold something else than text."""
    dropped: list[str] = []
    notes.clear()
    for split, row in rows:
        try:
            messages, tools = messages_of(row), tools_of(row)
        except UserError as e:
            if abnormal == "refuse":
                raise UserError(
                    e.where, e.what, f"{e.instead + '; ' if e.instead else ''}data.abnormal=drop leaves such rows out"
                ) from None
            dropped.append(f"{e.where} ({e.what})")
            continue
        yield Example(messages, None, row.origin, row.line, split, tools=tools)
    if dropped:
        notes.append(f"rows left out that are no conversation in text: {len(dropped)}, such as {'; '.join(dropped[:2])}")


def messages_of(row: Row) -> tuple[Message, ...]:
    """The turns of a row. UserError if it is not a conversation, or holds more than text."""
    for field in LISTS:
        if row.cells.get(field) is not None:
            turns = row.cells[field]
            if not isinstance(turns, list):
                raise UserError(
                    row.where,
                    f"field {field!r} is no list but {type(turns).__name__}",
                    'it is [{"role": ..., "content": ...}, ...]',
                )
            places = [f"{row.where} {field}[{i}]" for i in range(len(turns))]
            said = tuple(weighed(turn_of(turn, at, row.padded), turn, at) for turn, at in zip(turns, places))
            begins = bool(said) and said[0]["role"] in ("system", "developer")
            return said if begins else (*_told(row), *said)  # ShareGPT's files may give the system beside the turns
    for question, answer in QUESTIONS.items():
        if question in row.cells:
            asked = row.text(question, question) or ""
            more = _text(row, "input") if question == "instruction" else None
            asked = "\n\n".join(t for t in (asked, more) if t and t.strip())
            said = row.text(answer, answer) or ""
            return (*_told(row), Message(role="user", content=asked), Message(role="assistant", content=said))
    fields = [*LISTS, *(f"{q} and {a}" for q, a in QUESTIONS.items())]
    raise UserError(
        row.where, f"is no conversation: it has the fields {', '.join(row.cells)}", f"one of {', '.join(fields)} is needed"
    )


def _told(row: Row) -> tuple[Message, ...]:
    """The system's message where a field of its own has it."""
    told = _text(row, "system")
    return (Message(role="system", content=told),) if told else ()


def _text(row: Row, name: str) -> str | None:
    """A field that may be missing. UserError if it holds something else than text."""
    value = row.cells.get(name)
    if not isinstance(value, (str, type(None))):
        raise UserError(row.where, f"field {name!r} is no text but {type(value).__name__}")
    return value


def weighed(message: Message, turn: Mapping[str, object], where: str) -> Message:
    """The message with OpenAI's weight of an answer: 0, it is not learnt, or 1. UserError if it is something else."""
    weight = turn.get("weight")
    if weight is not None and (isinstance(weight, bool) or weight not in (0, 1)):
        raise UserError(where, f"has the weight {weight!r}", "it is 0, which leaves an answer out of the loss, or 1")
    return message if weight is None or message["role"] != "assistant" else {**message, "weight": int(bool(weight))}


def turn_of(turn: object, where: str, padded: bool) -> Message:
    """OpenAI's ``{role, content}`` or ShareGPT's ``{from, value}``; other fields that templates read stay as they are.

    Args:
        turn: as a file has it.
        where: for messages.
        padded: objects hold None where they lack a key of others.
    """
    if not isinstance(turn, dict):
        raise UserError(where, f"is no object but {type(turn).__name__}")
    said, content = (
        turn.get(a) if turn.get(a) is not None else turn.get(b) for a, b in (("role", "from"), ("content", "value"))
    )
    if not isinstance(said, str) or said.lower() not in ROLES:
        raise UserError(where, f"has the role {said!r}", nearest(str(said), ROLES, called="roles"))
    role = ROLES[said.lower()]
    if said.lower() == CALLING:
        return Message(role=role, content="", tool_calls=calls_in_text(content, where))
    calls = calls_of(turn, where, padded)
    if calls and role != "assistant":
        raise UserError(where, f"calls a tool, and its role is {said!r}", "the assistant calls tools")
    if isinstance(content, list):  # OpenAI's parts
        kinds = [p.get("type") if isinstance(p, dict) else type(p).__name__ for p in content]
        if other := [k for k in kinds if k != "text"]:
            raise UserError(where, f"holds a part of type {other[0]!r}, which is no text")
        content = "".join(str(p.get("text") or "") for p in content)
    if not (isinstance(content, str) or (content is None and calls)):
        raise UserError(where, f"its content is no text but {type(content).__name__}")
    made = Message(role=role) if content is None else Message(role=role, content=content)  # as transformers reads null
    if calls:
        made["tool_calls"] = calls
    for name in BESIDE:
        if isinstance(value := turn.get(name), str):
            made[name] = value
    return made
