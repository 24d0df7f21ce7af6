"""Tools in rows of conversations: those that are offered, and calls of them, in the forms of OpenAI and ShareGPT."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from components.core import files
from components.core.errors import UserError
from components.corpus.example import Tool
from components.parts.data._tables import Row

FIELDS = ("tools", "functions")  # today's name of the field, and OpenAI's older one
TOOL = 'it is {"type": "function", "function": {"name": ..., "description": ..., "parameters": a JSON schema}}'
CALL = '{"function": {"name": ..., "arguments": {...}}}'


def tools_of(row: Row) -> tuple[Tool, ...] | None:
    """The tools that a row offers, a list or the text of one; None: it says nothing of tools. UserError if one is no function."""
    for field in FIELDS:
        given = row.cells.get(field)
        if given is None or (isinstance(given, str) and not given.strip()):
            continue
        where = f"{row.where} {field}"
        if isinstance(given, str):
            given = files.parse_json(given, where)
        if not isinstance(given, list):
            raise UserError(where, f"is no list of tools but {type(given).__name__}", f"each of them: {TOOL[6:]}")
        return tuple(_tool(tool, f"{where}[{i}]", row.padded) for i, tool in enumerate(given))
    return None


def _tool(given: object, where: str, padded: bool) -> Tool:
    """A tool. A function by itself is put into the form that templates read."""
    tool, function = _function(without_nothing(given) if padded else given, where, "tool", TOOL)
    parameters = function.get("parameters")
    if not isinstance(parameters, (Mapping, type(None))):
        what = f"the parameters of {function['name']!r} are no JSON schema but {type(parameters).__name__}"
        raise UserError(where, what, 'they are {"type": "object", "properties": {...}}')
    return tool


def calls_of(turn: Mapping[str, object], where: str, padded: bool) -> list[Mapping[str, object]]:
    """The calls in an assistant's turn: ``tool_calls``, or OpenAI's older ``function_call``. UserError if one is malformed."""
    given, old = turn.get("tool_calls"), turn.get("function_call")
    if given is not None and not isinstance(given, list):
        raise UserError(where, f"its tool_calls are no list but {type(given).__name__}", f"they are [{CALL}, ...]")
    named = [(call, f"{where} tool_calls[{i}]") for i, call in enumerate(given or ())]
    return [_call(call, place, padded) for call, place in (named or ([(old, f"{where} function_call")] if old else []))]


def calls_in_text(text: object, where: str) -> list[Mapping[str, object]]:
    """The calls in a turn of ShareGPT's ``function_call``, whose text is a call, or a list of them, as JSON."""
    given = files.parse_json(text, where) if isinstance(text, str) else text
    calls: Sequence[object] = given if isinstance(given, list) else [given]
    if not calls:
        raise UserError(where, "holds no call of a tool", f"it is {CALL}")
    return [_call(call, where, False) for call in calls]


def _call(given: object, where: str, padded: bool) -> Mapping[str, object]:
    """A call. Its arguments stay as they are, an object or the text of one."""
    call, function = _function(without_nothing(given) if padded else given, where, "call of a tool", f"it is {CALL}")
    held = function.get("arguments")
    if held is None or held == "":  # of a function without parameters
        return {**call, "function": {**function, "arguments": {}}}
    found = files.parse_json(held, f"{where}: the arguments of {function['name']!r}") if isinstance(held, str) else held
    if not isinstance(found, Mapping):
        what = f"the arguments of {function['name']!r} are no object but {type(found).__name__}"
        raise UserError(where, what, 'they are {"parameter": value, ...}, or the text of that')
    return call


def _function(given: object, where: str, what: str, instead: str) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """(``{"function": {"name": ...}}``, the function in it); a function by itself is put into that form. UserError if there is no name."""
    if not isinstance(given, Mapping):
        raise UserError(where, f"is no {what} but {type(given).__name__}", instead)
    function = given.get("function", given)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise UserError(where, f"is no {what}: {json.dumps(given, ensure_ascii=False):.60} names no function", instead)
    return (given if function is not given else {"type": "function", "function": given}), function


def without_nothing(value: object) -> object:
    """The same without what is None in objects: columns of a fixed form give each object the keys of all."""
    if isinstance(value, Mapping):
        return {key: without_nothing(one) for key, one in value.items() if one is not None}
    return [without_nothing(one) for one in value] if isinstance(value, (list, tuple)) else value
