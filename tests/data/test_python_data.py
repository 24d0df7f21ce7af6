"""The sources that every machine has."""

from __future__ import annotations

import ast
import textwrap
from itertools import islice, pairwise

import pytest

from components import build
from components.core.errors import UserError
from components.parts.data.python_functions import functions
from components.parts.data.python_prose import prose


def test_functions_are_whole_and_within_the_lengths():
    found = list(islice(build("data", "python_functions", min_chars=100, max_chars=300).documents(), 400))
    assert len(found) == 400
    for document in found:
        assert 100 <= len(document.text) <= 300
        tree = ast.parse(document.text)
        assert len(tree.body) == 1
        assert isinstance(tree.body[0], ast.FunctionDef)
        assert document.text.startswith("def ")
        assert document.text.endswith("\n")
    assert found[0].origin.endswith(".py")


def test_functions_in_the_same_order_each_time():
    first, second = (list(islice(build("data", "python_functions").documents(), 50)) for _ in range(2))
    assert first == second


def test_methods_are_moved_to_the_margin_and_form_feeds_shift_no_line():
    source = 'x = 1\n\x0c\nclass A:\n    def f(self):\n        """Doc\x0c."""\n        return 1\n\ndef g(): return 2\n'
    assert sorted(functions(source, 1, 100)) == [
        (4, 'def f(self):\n    """Doc\x0c."""\n    return 1\n'),
        (8, "def g(): return 2\n"),
    ]


def test_a_function_within_a_document_is_no_document_of_its_own():
    inner = "def inner(x):\n    return x + 1\n"
    outer = "def outer(y):\n" + textwrap.indent(inner, "    ") + "    return inner(y)\n"
    long = "def long(y):\n" + textwrap.indent(inner, "    ") + "    y = 1\n" * 40
    assert list(functions(outer, 10, 100)) == [(1, outer)]
    assert list(functions(long, 10, 100)) == [(2, inner)]  # its parent is too long to be one


def test_no_document_stands_within_another():
    seen: dict[str, list[tuple[int, int]]] = {}
    for d in islice(build("data", "python_functions").documents(), 3000):
        seen.setdefault(d.origin, []).append((d.line, d.line + d.text.count("\n") - 1))
    for spans in seen.values():
        assert all(end < start for (_, end), (start, _) in pairwise(spans))


def test_what_does_not_parse_has_no_functions():
    assert list(functions("def f(:\n", 1, 100)) == []
    assert list(functions("\0", 1, 100)) == []


def test_lengths_that_exclude_each_other_are_refused():
    with pytest.raises(ValueError, match="min_chars=300 is more than max_chars=200"):
        build("data", "python_functions", min_chars=300, max_chars=200)


def test_prose_takes_sentences_and_leaves_code():
    source = textwrap.dedent('''
        def f():
            """Compute the sum of all the numbers that this function
            was given, and nothing else at all.

            >>> f(1, 2) is something that Python prints in an example session.

            Args: x = 1; y = 2 # not prose, though it has a sufficient number of characters.

            Notes
            -----
            Whatever stands below a heading is kept, but for the heading itself, as here.
            """
        ''')
    assert list(prose(source, 40)) == [
        (3, "Compute the sum of all the numbers that this function was given, and nothing else at all."),
        (10, "Whatever stands below a heading is kept, but for the heading itself, as here."),
    ]


def test_prose_of_packages_names_where_it_stands():
    source = build("data", "python_prose", packages=["yaml"])
    found = list(source.documents())
    assert any(d.origin.startswith("yaml/") for d in found)
    assert len({d.text for d in found}) > 2000
    assert "yaml" in source.notes[0]
    assert source.fingerprint() != build("data", "python_prose", packages=[]).fingerprint()


@pytest.mark.parametrize("name", ["no_such_package", "no such", "this"])
def test_a_package_that_is_not_there_is_said(name):
    with pytest.raises(UserError, match=f"no installed package '{name}'"):
        build("data", "python_prose", packages=[name])
