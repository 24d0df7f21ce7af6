"""Cleaning: what is dropped or cut, and what the report says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from components.corpus.clean import Report, cut
from components.corpus.document import Document
from components.corpus.making import write_texts
from components.corpus.texts import SPLITS, Cleaning, read_texts

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


class Given:
    """A source of these documents."""

    notes: tuple[str, ...] = ()

    def __init__(self, documents):
        self.documents = lambda: iter(documents)


def cleaned(folder, documents, max_chars):
    """(what is kept, report)"""
    made = folder / "text"
    made.mkdir()
    report, _ = write_texts(made, Given(documents), Cleaning(0, 0.0, 0.0, max_chars), lambda *_: None, folder / "texts" / "key")
    assert sorted(f.name for f in made.iterdir()) == sorted(f"{s}.{end}" for s in SPLITS for end in ("txt", "ends.npy"))
    return [*read_texts(made, "train")], report


def test_report_counts_with_examples(tmp_path):
    kept, report = cleaned(tmp_path, DOCUMENTS, 50)
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
    assert lines[0] == "8 documents read, 4 kept (72 characters): 4 train, 0 validation, 0 test"
    assert "2 no UTF-8, such as old.txt:11 (byte 0xe9); rows.jsonl:2 (lone surrogate U+D83D)" in lines
    assert len(lines) == 5


def test_examples_are_few(tmp_path):
    kept, report = cleaned(tmp_path, [Document("", f"{i}") for i in range(100)], 10)
    assert kept == []
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
