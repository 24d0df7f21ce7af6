"""Tools, calls and their answers, from every form that files have to the store and back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from components import build
from components.core.errors import UserError
from components.corpus.example import Example
from components.corpus.example_files import Stored, Writer, ends_of
from components.corpus.examples import prepare_examples, texts_of

PARAMETERS = {"type": "object", "properties": {"place": {"type": "string", "default": None}}}
FUNCTION = {"name": "warmth", "description": "How warm it is.", "parameters": PARAMETERS}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {"id": "a1", "type": "function", "function": {"name": "warmth", "arguments": '{"place": "Zürich"}'}}
BARE = {"type": "function", "function": {"name": "warmth", "arguments": {"place": "Zürich"}}}
USER = {"role": "user", "content": "How warm?"}
SAID = {"role": "assistant", "content": "21 °C."}
TOLD = {"role": "tool", "tool_call_id": "a1", "content": "21"}
CALLS = {"role": "assistant", "tool_calls": [CALL]}


def read(tmp_path, *rows, name="conversations", **options):
    file = tmp_path / "c.jsonl"
    file.write_text("\n".join(json.dumps(r) for r in rows) + "\n")
    return list(build("data", name, path=str(file), **options).examples())


SHAREGPT = [
    {"from": "human", "value": "How warm?"},
    {"from": "function_call", "value": '{"name": "warmth", "arguments": {"place": "Zürich"}}'},
    {"from": "observation", "value": "21"},
    {"from": "gpt", "value": "21 °C."},
]
OLD = [
    USER,
    {"role": "assistant", "content": None, "function_call": CALL["function"]},
    {"role": "function", "name": "warmth", "content": "21"},
]


@pytest.mark.parametrize(
    ("row", "messages", "tools"),
    [
        ({"messages": [USER, {**CALLS, "content": None, "refusal": None}, TOLD, SAID], "tools": [TOOL], "parallel_tool_calls": False},
         (USER, CALLS, TOLD, SAID), (TOOL,)),
        ({"messages": [USER, {**CALLS, "content": "So:"}, TOLD], "tools": []}, (USER, {**CALLS, "content": "So:"}, TOLD), ()),
        ({"messages": [USER, {**SAID, "tool_calls": [], "reasoning_content": "Summer."}]},
         (USER, {**SAID, "reasoning_content": "Summer."}), None),
        ({"messages": OLD, "functions": [FUNCTION]},
         (USER, {"role": "assistant", "tool_calls": [{"type": "function", "function": CALL["function"]}]}, OLD[2]), (TOOL,)),
        ({"conversations": SHAREGPT, "tools": json.dumps([FUNCTION]), "system": "Be short."},
         ({"role": "system", "content": "Be short."}, USER, {"role": "assistant", "content": "", "tool_calls": [BARE]},
          {"role": "tool", "content": "21"}, SAID), (TOOL,)),
        ({"conversations": [{"from": "function_call", "value": json.dumps([BARE, {"name": "now"}])}], "tools": " "},
         ({"role": "assistant", "content": "",
           "tool_calls": [BARE, {"type": "function", "function": {"name": "now", "arguments": {}}}]},), None),
        ({"messages": [{"role": "developer", "content": "Be short."}, USER, {"role": "ipython", "content": "1"}], "system": "x"},
         ({"role": "developer", "content": "Be short."}, USER, {"role": "ipython", "content": "1"}), None),
        ({"instruction": "How warm?", "output": "21 °C.", "tools": [TOOL]}, (USER, SAID), (TOOL,)),
    ],
)  # fmt: skip
def test_forms_and_the_store(tmp_path, row, messages, tools):
    (found,) = read(tmp_path, row)
    assert (found.input, found.tools) == (messages, tools)
    with Writer(tmp_path / "s.jsonl") as kept:
        kept.add(found)
    assert Stored(tmp_path / "s.jsonl")[0] == found


def test_tables_with_columns_of_one_form_say_what_lines_of_json_say(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    now = {"type": "function", "function": {"name": "now", "arguments": {"zone": "CET"}}}
    plain = {
        "type": "function",
        "function": {**FUNCTION, "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}},
    }
    rows = [
        {
            "messages": [USER, {"role": "assistant", "content": "", "tool_calls": [one]}, {"role": "tool", "content": "21"}],
            "tools": tools,
        }
        for one, tools in ((BARE, [plain]), (now, None))
    ]
    pq.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "c.parquet")
    found = list(build("data", "conversations", path=str(tmp_path / "c.parquet")).examples())
    assert [e.input for e in found] == [tuple(row["messages"]) for row in rows]
    assert [e.tools for e in found] == [(plain,), None]
    pytest.importorskip("datasets")
    hub = build("data", "hf_conversations", path=str(tmp_path / "c.parquet")).examples()
    assert [(e.input, e.tools) for e in hub] == [(e.input, e.tools) for e in found]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"tools": {"name": "warmth"}}, r"c\.jsonl:2 tools: is no list of tools but dict"),
        ({"tools": "[{"}, r"c\.jsonl:2 tools: is no JSON that can be read"),
        ({"tools": "[" * 100_000}, r"c\.jsonl:2 tools: is no JSON that can be read \(nested too deeply\)"),
        ({"tools": [TOOL, "warmth"]}, r"c\.jsonl:2 tools\[1\]: is no tool but str; it is {"),
        ({"tools": [{"type": "web_search"}]}, r'c\.jsonl:2 tools\[0\]: is no tool: {"type": "web_search"} names no function'),
        ({"functions": [{"name": "now", "parameters": "none"}]}, r"functions\[0\]: the parameters of 'now' are no JSON schema but str"),
        ({"messages": [USER, {**CALLS, "tool_calls": {}}]}, r"messages\[1\]: its tool_calls are no list but dict"),
        ({"messages": [USER, {**CALLS, "tool_calls": ["warmth"]}]}, r"messages\[1\] tool_calls\[0\]: is no call of a tool but str"),
        ({"messages": [USER, {**CALLS, "tool_calls": [{"function": {}}]}]}, r"tool_calls\[0\]: is no call of a tool: .* names no function"),
        ({"messages": [USER, {**CALLS, "tool_calls": [{"function": {"name": "warmth", "arguments": "{place"}}]}]},
         r"messages\[1\] tool_calls\[0\]: the arguments of 'warmth': is no JSON"),
        ({"messages": [USER, {**CALLS, "tool_calls": [{"function": {"name": "warmth", "arguments": "[1]"}}]}]},
         "the arguments of 'warmth' are no object but list"),
        ({"messages": [USER, {**TOLD, "tool_calls": [CALL]}]}, r"messages\[1\]: calls a tool, and its role is 'tool'"),
        ({"messages": [USER, {"role": "tool", "content": {"celsius": 21}}]}, r"messages\[1\]: its content is no text but dict"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, r"messages\[1\]: its content is no text but NoneType"),
        ({"conversations": [{"from": "function_call", "value": "warmth()"}]}, r"conversations\[0\]: is no JSON"),
        ({"conversations": [{"from": "function_call", "value": "[]"}]}, r"conversations\[0\]: holds no call of a tool"),
        ({"messages": [USER, SAID], "system": 3}, None),
    ],
)  # fmt: skip
def test_what_is_malformed_is_one_line_with_its_place(tmp_path, row, words):
    row = {"messages": [USER, SAID], **row} if "conversations" not in row else row
    with pytest.raises(UserError, match=words or r"c\.jsonl:2: field 'system' is no text but int") as caught:
        read(tmp_path, {"messages": [USER, SAID]}, row)
    assert "\n" not in str(caught.value)
    assert "data.abnormal=drop" in str(caught.value)
    source = build("data", "conversations", path=str(tmp_path / "c.jsonl"), abnormal="drop")
    assert [e.line for e in source.examples()] == [1]
    assert source.notes[0].startswith("rows left out that are no conversation in text: 1")


def test_preferences_have_tools_too(tmp_path):
    row = {"prompt": [USER], "chosen": [CALLS, TOLD, SAID], "rejected": [SAID], "tools": [TOOL]}
    (found,) = read(tmp_path, row, name="preferences")
    assert (found.input, found.answers, found.tools) == ((USER,), ((CALLS, TOLD, SAID), (SAID,)), (TOOL,))
    with Writer(tmp_path / "s.jsonl") as kept:
        kept.add(found)
    assert Stored(tmp_path / "s.jsonl")[0] == found
    with pytest.raises(UserError, match=r"c\.jsonl:1 chosen\[0\] tool_calls\[0\]: is no call"):
        read(tmp_path, {**row, "chosen": [{**CALLS, "tool_calls": [3]}]}, name="preferences")


def test_stores_that_were_written_before_there_were_tools_are_read(tmp_path):
    lines = [[[USER, SAID], None, "f", 1, None], [[USER], None, "f", 2, "train", [SAID], [{**SAID, "content": "No."}]]]
    data = [json.dumps(line) + "\n" for line in lines]
    (tmp_path / "s.jsonl").write_text("".join(data))
    np.save(ends_of(tmp_path / "s.jsonl"), np.cumsum([len(d) for d in data]))
    held = Stored(tmp_path / "s.jsonl")
    assert held[0] == Example((USER, SAID), None, "f", 1)
    assert held[1] == Example((USER,), None, "f", 2, "train", ((SAID,), ({**SAID, "content": "No."},)))
    with Writer(tmp_path / "t.jsonl") as again:
        for example in held:
            again.add(example)
    assert (tmp_path / "t.jsonl").read_text() == "".join(data)


def test_a_conversation_of_calls_alone_is_learnt_from_and_tools_tell_examples_apart(tmp_path):
    rows = [{"messages": [USER, CALLS], "tools": t} for t in ([TOOL], [TOOL], [], None)] + [
        {"messages": [USER, TOLD], "tools": [TOOL]}
    ]
    rows += [{"messages": [{**USER, "content": f"{i}?"}, SAID]} for i in range(8)]
    (tmp_path / "c.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    source = build("data", "conversations", path=str(tmp_path / "c.jsonl"))
    made = prepare_examples(source, build("tokenizer", "byte"), cache=tmp_path / "cache", labelled=False, validation=0.3)
    assert (made.report.counts["duplicates"], made.report.counts["unanswered"]) == (1, 1)
    held = [[e.tools for e in split if e.input == (USER, CALLS)] for split in (made.train, made.validation)]
    assert [] in held, "equal messages are in one split"
    assert sorted(map(repr, held[0] + held[1])) == sorted(map(repr, ((TOOL,), (), None)))
    texts = "\n".join(texts_of([*made.train, *made.validation]))
    assert all(text in texts for text in ("How warm it is.", "Zürich", '"place"')), "the tokenizer learns from tools and calls"
