"""The forms are those of Alpaca, OpenAI and ShareGPT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from components.core.registry import register
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data._conversations import FORM, conversations
from components.parts.data._from_tables import FromTables


@register("data", "conversations")
class Conversations(FromTables):
    """The user's own instructions and chats, from jsonl, json, parquet, csv or tsv; the form is told by the fields of each row.

    ``{"messages": [{"role": "user", "content": ...}, ...]}`` (OpenAI), ``{"conversations": [{"from": "human", "value": ...}, ...]}`` (ShareGPT),
    ``{"instruction": ..., "input": ..., "output": ...}`` (Alpaca; ``input`` follows the instruction after an empty line),
    ``{"prompt": ..., "completion": ...}``; the last three may have ``system`` as well.

    Tools: a field ``tools`` (or ``functions``), a list of JSON schemas or the text of one; an assistant's ``tool_calls`` (``function_call``), whose
    arguments are an object or the text of one; answers in the role ``tool`` (``ipython``, ``function``). Of ShareGPT's roles ``function_call`` and
    ``observation``. ``"weight": 0`` in an answer: it is read and not learnt. What no template sees, such as ``parallel_tool_calls``, is passed over.

    Args:
        path: a file, a folder (searched for tables that are not hidden), or a pattern such as ``chats/*.jsonl``.
        abnormal: rows that are no conversation in text (unknown roles, pictures, calls without a name): refused with file and line, or dropped
            and counted.
    """

    provides = ("conversations",)

    abnormal: Literal["refuse", "drop"] = "refuse"

    def fingerprint(self) -> str:
        return key_of("conversations", FORM, self.abnormal, *self.tables.fingerprint())

    def examples(self) -> Iterator[Example]:
        yield from conversations(self.tables.rows(), self.abnormal, self.notes)
