"""A row as a conversation, in the forms that instruction and chat data come in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from components.core.errors import UserError, nearest
from components.corpus.example import Example, Message
from components.parts.data._tables import Row

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}
LISTS = ("messages", "conversations", "conversation")  # OpenAI's field, ShareGPT's, and a usual variant of it
QUESTIONS = {"instruction": "output", "prompt": "completion"}  # Alpaca's fields, and those of OpenAI's older files
OnFault = Literal["refuse", "drop"]


def conversations(rows: Iterator[tuple[str | None, Row]], abnormal: OnFault, notes: list[str]) -> Iterator[Example]:
    """Every row as a conversation; ``notes`` says at the end which were dropped because they hold something else than text."""
    dropped: list[str] = []
    notes.clear()
    for split, row in rows:
        try:
            messages = messages_of(row)
        except UserError as e:
            if abnormal == "refuse":
                raise UserError(
                    e.where, e.what, f"{e.instead + '; ' if e.instead else ''}data.abnormal=drop leaves such rows out"
                ) from None
            dropped.append(f"{e.where} ({e.what})")
            continue
        yield Example(messages, None, row.origin, row.line, split)
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
            return tuple(turn_of(turn, f"{row.where} {field}[{i}]") for i, turn in enumerate(turns))
    for question, answer in QUESTIONS.items():
        if question in row.cells:
            asked = row.text(question, question) or ""
            more = row.cells.get("input") if question == "instruction" else None
            told = row.cells.get("system")
            for name, value in (("input", more), ("system", told)):
                if not isinstance(value, (str, type(None))):
                    raise UserError(row.where, f"field {name!r} is no text but {type(value).__name__}")
            first = [Message(role="system", content=told)] if told else []
            asked = "\n\n".join(t for t in (asked, more) if t and t.strip())
            said = row.text(answer, answer) or ""
            return (*first, Message(role="user", content=asked), Message(role="assistant", content=said))
    fields = [*LISTS, *(f"{q} and {a}" for q, a in QUESTIONS.items())]
    raise UserError(
        row.where, f"is no conversation: it has the fields {', '.join(row.cells)}", f"one of {', '.join(fields)} is needed"
    )


def turn_of(turn: object, where: str) -> Message:
    """OpenAI's ``{role, content}`` or ShareGPT's ``{from, value}``."""
    if not isinstance(turn, dict):
        raise UserError(where, f"is no object but {type(turn).__name__}")
    said, content = (
        turn.get(a) if turn.get(a) is not None else turn.get(b) for a, b in (("role", "from"), ("content", "value"))
    )
    if not isinstance(said, str) or said.lower() not in ROLES:
        raise UserError(where, f"has the role {said!r}", nearest(str(said), ROLES, called="roles"))
    if turn.get("tool_calls") or turn.get("function_call"):
        raise UserError(where, "calls a tool, which is no text")
    if isinstance(content, list):  # OpenAI's parts
        kinds = [p.get("type") if isinstance(p, dict) else type(p).__name__ for p in content]
        if other := [k for k in kinds if k != "text"]:
            raise UserError(where, f"holds a part of type {other[0]!r}, which is no text")
        content = "".join(str(p.get("text") or "") for p in content)
    if not isinstance(content, str):
        raise UserError(where, f"its content is no text but {type(content).__name__}")
    return Message(role=ROLES[said.lower()], content=content)
