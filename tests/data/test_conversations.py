"""Instructions and chats in every form that they come in, and from the standard library."""

from __future__ import annotations

import ast
import json
from itertools import islice

import pytest

from components import build
from components.core.errors import UserError
from components.parts.data.python_instructions import instructions


def said(*turns: tuple[str, str]):
    return tuple({"role": role, "content": content} for role, content in turns)


def read(tmp_path, *rows, **options):
    file = tmp_path / "c.jsonl"
    file.write_text("\n".join(json.dumps(r) for r in rows) + "\n")
    return [e.input for e in build("data", "conversations", path=str(file), **options).examples()]


TALK = said(("user", "Hi"), ("assistant", "Hello"))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": [{"role": "system", "content": "Be kind"}, *TALK]}, (*said(("system", "Be kind")), *TALK)),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, TALK[1]]}, TALK),
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}, TALK),
        ({"instruction": "Hi", "input": "", "output": "Hello"}, TALK),
        ({"instruction": "Add", "input": "1 2", "output": "3"}, said(("user", "Add\n\n1 2"), ("assistant", "3"))),
        ({"instruction": "Hi", "output": "Hello", "system": "Be kind"}, (*said(("system", "Be kind")), *TALK)),
        ({"prompt": "Hi", "completion": "Hello"}, TALK),
        ({"instruction": "Hi", "output": None}, said(("user", "Hi"), ("assistant", ""))),
        ({"messages": []}, ()),
        (
            {"messages": [{**TALK[0], "weight": 1}, {**TALK[1], "weight": 0}, *TALK, {**TALK[1], "weight": 1.0}]},
            (TALK[0], {**TALK[1], "weight": 0}, *TALK, {**TALK[1], "weight": 1}),
        ),
    ],
)
def test_forms(tmp_path, row, expected):
    assert read(tmp_path, row) == [expected]


def test_the_form_is_that_of_each_row_in_every_format(tmp_path):
    rows = [{"messages": list(TALK)}, {"messages": list(TALK[:1])}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "b.csv").write_text("instruction,input,output\nHi,,Hello\n")
    import pyarrow
    import pyarrow.parquet as pq

    pq.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "c.parquet")
    found = list(build("data", "conversations", path=str(tmp_path)).examples())
    assert [e.input for e in found] == [TALK, TALK[:1], TALK, TALK, TALK[:1]]
    assert {e.answer for e in found} == {None}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "x"}, r"c\.jsonl:2: is no conversation: it has the fields text; one of messages,"),
        ({"messages": "x"}, r"c\.jsonl:2: field 'messages' is no list but str"),
        ({"messages": ["x"]}, r"c\.jsonl:2 messages\[0\]: is no object but str"),
        ({"messages": [*TALK, {"role": "usr", "content": "x"}]}, r"messages\[2\]: has the role 'usr'; did you mean 'user'"),
        ({"messages": [{"role": "toll", "content": "x"}]}, "has the role 'toll'; did you mean 'tool'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "holds a part of type 'image_url'"),
        ({"messages": [{"role": "user", "content": None}]}, "its content is no text but NoneType"),
        ({"messages": [{**TALK[1], "weight": 0.5}]}, r"messages\[0\]: has the weight 0.5; it is 0, which leaves an answer out"),
        ({"messages": [{**TALK[1], "weight": False}]}, "has the weight False"),
        ({"instruction": 3, "output": "x"}, "field 'instruction' is no text but int"),
        ({"instruction": "x", "input": 3, "output": "x"}, "field 'input' is no text but int"),
    ],
)
def test_what_is_no_conversation_is_refused_or_counted(tmp_path, row, words):
    fine = {"messages": list(TALK)}
    with pytest.raises(UserError, match=words) as caught:
        read(tmp_path, fine, row)
    assert "data.abnormal=drop" in str(caught.value)
    source = build("data", "conversations", path=str(tmp_path / "c.jsonl"), abnormal="drop")
    assert [e.input for e in source.examples()] == [TALK]
    assert source.notes[0].startswith("rows left out that are no conversation in text: 1, such as ")
    assert f"{tmp_path}/c.jsonl:2" in source.notes[0]


def test_instructions_from_docstrings():
    source = '''
class A:
    def area(self, w,
             h=2):
        """Return the area
        of a rectangle.

        More is said here.
        """

        # in pixels
        return w * h

    def nothing(self):
        """Only said."""

    def short(self): "On one line"; return 1

def outer(x):
    """Outer."""
    def inner(y):
        """Inner."""
        return y
    return inner(x)

def bare():
    return 1
'''
    found = list(instructions(source, 1, 200))
    assert found[0] == (
        3,
        "Return the area of a rectangle.\n\ndef area(self, w,\n         h=2):",
        "def area(self, w,\n         h=2):\n    # in pixels\n    return w * h\n",
    )
    assert [line for line, _, _ in found] == [3, 19]
    assert [asked for _, asked, _ in instructions(source, 1, 60)] == ["Inner.\n\ndef inner(y):"]
    assert list(instructions("def f(:\n", 1, 100)) == []


def test_instructions_from_the_standard_library():
    source = build("data", "python_instructions", max_chars=200)
    found = list(islice(source.examples(), 300))
    assert found == list(islice(source.examples(), 300))
    for e in found:
        (asked, answer) = (m["content"] for m in e.input)
        tree = ast.parse(answer)
        assert len(tree.body) == 1
        assert ast.get_docstring(tree.body[0]) is None
        assert answer.startswith(asked.split("\n\n", 1)[1])
        assert 30 <= len(answer) <= 200
        assert [m["role"] for m in e.input] == ["user", "assistant"]
    assert source.fingerprint() != build("data", "python_instructions").fingerprint()
    with pytest.raises(ValueError, match="min_chars=30 is more than max_chars=20"):
        build("data", "python_instructions", max_chars=20)
