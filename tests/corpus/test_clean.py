"""Cleaning: what is dropped or cut, and what the report says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from components.corpus.clean import Report, clean, cut
from components.corpus.document import Document

DOCUMENTS = [
    Document("kept", "a.txt", 1),
    Document("", "empty.txt", 1),
    Document(" \n\t", "a.txt", 7),
    Document("kept", "b.txt", 3),
    Document("line\nbad \udce9 here", "old.txt", 10),
    Document("half \ud83d pair", "rows.jsonl", 2),
    Document("w " * 30, "long.txt", 1),
    Document("kept too", "a.txt", 9),
]


def test_report_counts_with_examples():
    report = Report()
    kept = [piece for _, pieces in clean(DOCUMENTS, report, max_chars=50) for piece in pieces]
    assert kept == ["kept", "w " * 25, "w " * 5, "kept too"]
    assert (report.read, report.kept, report.characters) == (8, 4, sum(map(len, kept)))
    assert {r: n for r, n in report.counts.items() if n} == {"empty": 2, "undecodable": 2, "duplicates": 1, "over_long": 1}
    assert {r: e for r, e in report.examples.items() if e} == {
        "empty": ["empty.txt:1", "a.txt:7"],
        "undecodable": ["old.txt:11 (byte 0xe9)", "rows.jsonl:2 (lone surrogate U+D83D)"],
        "duplicates": ["b.txt:3 'kept'"],
        "over_long": ["long.txt:1 (60 characters)"],
    }
    assert Report(**report.to_dict()) == report
    lines = report.lines()
    assert lines[0] == "8 documents read, 4 kept (72 characters)"
    assert "2 no UTF-8, such as old.txt:11 (byte 0xe9); rows.jsonl:2 (lone surrogate U+D83D)" in lines
    assert len(lines) == 5


def test_examples_are_few():
    report = Report()
    assert list(clean([Document("", f"{i}") for i in range(100)], report, max_chars=10)) == []
    assert report.counts["empty"] == 100
    assert len(report.examples["empty"]) == 5


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet="ab \n", max_size=200), st.integers(1, 20))
def test_cut_loses_nothing(text, size):
    pieces = cut(text, size)
    assert "".join(pieces) == text
    assert all(0 < len(p) <= size for p in pieces)


def test_cut_prefers_blank_lines_to_lines_to_spaces():
    assert cut("one two\n\nthree four five", 12) == ["one two\n\n", "three four ", "five"]
    assert cut("one two\nthree four five", 12)[0] == "one two\n"
    assert cut("x" * 25, 12) == ["x" * 12, "x" * 12, "x"]
