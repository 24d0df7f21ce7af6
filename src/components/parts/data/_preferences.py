"""A row as a preference: a prompt, the answer that was chosen and the one that was rejected, in the three forms that such data come in, or one answer
and whether it is good."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.errors import UserError
from components.corpus.example import Example, Message
from components.parts.data._conversations import OnFault, turn_of, weighed
from components.parts.data._tables import Row
from components.parts.data._tools import tools_of

ANSWERS = ("chosen", "rejected")
ONE, JUDGED = "completion", "label"  # of an answer that was judged by itself


def preferences(rows: Iterator[tuple[str | None, Row]], abnormal: OnFault, notes: list[str]) -> Iterator[Example]:
    """Every row as a preference; ``notes`` says at the end which were dropped because they are none."""
    dropped: list[str] = []
    notes.clear()
    for split, row in rows:
        try:
            prompt, answers = preference_of(row)
            tools = tools_of(row)
        except UserError as e:
            if abnormal == "refuse":
                instead = f"{e.instead + '; ' if e.instead else ''}data.abnormal=drop leaves such rows out"
                raise UserError(e.where, e.what, instead) from None
            dropped.append(f"{e.where} ({e.what})")
            continue
        yield Example(prompt, None, row.origin, row.line, split, answers, tools)
    if dropped:
        notes.append(f"rows left out that are no preference in text: {len(dropped)}, such as {'; '.join(dropped[:2])}")


def preference_of(row: Row) -> tuple[tuple[Message, ...], tuple[tuple[Message, ...], ...]]:
    """(prompt, (chosen, rejected)), one of them empty where one answer was judged. UserError where the row is none, or an answer is not the assistant's."""
    if row.cells.get(ONE) is not None and not any(row.cells.get(name) is not None for name in ANSWERS):
        return _judged(row)
    for name in ANSWERS:
        if row.cells.get(name) is None:
            fields = ", ".join(row.cells)
            raise UserError(
                row.where,
                f"has no field {name!r}: it has {fields}",
                "a preference has chosen and rejected, or completion and label",
            )
    chosen, rejected = (_messages(row, name, "assistant") for name in ANSWERS)
    prompt = () if row.cells.get("prompt") is None else _messages(row, "prompt", "user")
    if not prompt:
        shared = next((i for i, (a, b) in enumerate(zip(chosen, rejected)) if a != b), min(len(chosen), len(rejected)))
        # equal conversations: the last message is the answer, and cleaning says that nothing is preferred
        shared = min(shared, len(chosen) - 1, len(rejected) - 1)
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    if not prompt:
        raise UserError(row.where, "chosen and rejected have no message in common", "give the prompt in a field of its own")
    for name, said in zip(ANSWERS, (chosen, rejected)):
        _need_answer(row, name, said)
    return prompt, (chosen, rejected)


def _judged(row: Row) -> tuple[tuple[Message, ...], tuple[tuple[Message, ...], ...]]:
    """A row with one answer and a label: it is chosen where that is true, and rejected where it is false."""
    label = row.cells.get(JUDGED)
    if label not in (True, False):  # 1 and 0 are equal to them
        raise UserError(f"{row.where} {JUDGED}", f"is {label!r}, and says whether the answer is good", "write true or false")
    if row.cells.get("prompt") is None:
        raise UserError(
            row.where, "has no field 'prompt', and one answer beside its label", "give the prompt in a field of its own"
        )
    prompt, said = _messages(row, "prompt", "user"), _messages(row, ONE, "assistant")
    _need_answer(row, ONE, said)
    return prompt, (said, ()) if label else ((), said)


def _need_answer(row: Row, name: str, said: tuple[Message, ...]) -> None:
    """UserError where the messages are not the assistant's whole answer."""
    if not said or said[0]["role"] != "assistant" or said[-1]["role"] != "assistant":
        raise UserError(f"{row.where} {name}", "is no answer of the assistant after the prompt")
    _need_whole(row, name, said)


def _need_whole(row: Row, name: str, said: tuple[Message, ...]) -> None:
    """UserError where a message of an answer is not to be learnt: the likelihoods of whole answers are compared. In a prompt a weight says nothing."""
    given = row.cells[name]
    if not isinstance(given, list):
        return
    first = len(given) - len(said)
    for i, message in enumerate(said, first):
        where = f"{row.where} {name}[{i}]"
        if weighed(message, given[i], where).get("weight") == 0:
            raise UserError(
                where, "has the weight 0, and a preference compares whole answers", "leave the weight out, or the row"
            )


def _messages(row: Row, name: str, role: str) -> tuple[Message, ...]:
    """A cell as messages; a text is one message of ``role``."""
    given = row.cells[name]
    if isinstance(given, str):
        return (Message(role=role, content=given),)
    if not isinstance(given, list):
        what = f"field {name!r} is neither text nor a list of messages but {type(given).__name__}"
        raise UserError(row.where, what, 'it is [{"role": ..., "content": ...}, ...]')
    return tuple(turn_of(one, f"{row.where} {name}[{i}]", row.padded) for i, one in enumerate(given))
