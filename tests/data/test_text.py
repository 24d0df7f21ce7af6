"""The user's own text: what is read, how it is cut, and what is said about damage."""

from __future__ import annotations

import io
import json
import os

import pytest

from components import build
from components.core.errors import UserError
from components.corpus import prepare


def texts(path, **options) -> list[str]:
    return [d.text for d in build("data", "text", path=str(path), **options).documents()]


def where(path, **options) -> list[str]:
    return [d.where for d in build("data", "text", path=str(path), **options).documents()]


def book(paragraphs: int) -> str:
    return "".join(f"Paragraph {i} of the book.\nIt has two lines, été.\n\n" for i in range(paragraphs))


def test_a_single_file_is_cut_so_that_some_can_be_held_out(tmp_path):
    file = tmp_path / "book (1), copy.txt"
    file.write_text(book(2000), encoding="utf8")
    source = build("data", "text", path=str(file))
    documents = list(source.documents())
    assert "".join(d.text for d in documents) == book(2000)
    assert 300 < len(documents) < 500
    assert all(d.text.endswith("\n\n") for d in documents)
    lines = book(2000).split("\n")
    assert all(lines[d.line - 1] == d.text.split("\n")[0] for d in documents)
    assert f"cut at blank lines into {len(documents)} documents" in source.notes[0]
    corpus = prepare(source, build("tokenizer", "byte"), cache=tmp_path / "cache")
    assert corpus.validation.n_documents > 5
    assert source.notes[0] in corpus.report.lines()


@pytest.mark.parametrize("text", ["word " * 5000, "x" * 9000, "A sentence. " * 900, "line\n" * 3000])
def test_text_without_blank_lines_is_cut_as_well(tmp_path, text):
    file = tmp_path / "a.txt"
    file.write_text(text)
    found = texts(file)
    assert "".join(found) == text
    assert len(found) > 20
    assert max(map(len, found)) <= 400


@pytest.mark.parametrize(
    ("split_on", "expected"),
    [
        ("file", ["One.\nTwo.\n\n\nThree.\n"]),
        ("blank_lines", ["One.\nTwo.\n", "Three.\n"]),
        ("lines", ["One.", "Two.", "Three."]),
    ],
)
def test_split_on(tmp_path, split_on, expected):
    file = tmp_path / "a.md"
    file.write_bytes(b"\xef\xbb\xbfOne.\r\nTwo.\r\n\r\n\r\nThree.\r\n")
    assert texts(file, split_on=split_on) == expected
    starts = {"file": [1], "blank_lines": [1, 5], "lines": [1, 2, 5]}[split_on]
    assert where(file, split_on=split_on) == [f"{file}:{n}" for n in starts]


def test_a_folder_is_searched_for_text_without_hidden_files(tmp_path):
    for name in ("b/x.txt", "a.py", "b/.hidden/y.txt", ".z.txt", "picture.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "t.jsonl").write_text('{"text": "row"}\n')
    assert texts(tmp_path) == ["a.py", "b/x.txt", "row"]
    assert texts(f"{tmp_path}/**/*.png") == ["picture.png"]
    assert texts(f"{tmp_path}/*.py") == ["a.py"]


def test_many_files_stay_whole(tmp_path):
    for i in range(50):
        (tmp_path / f"{i:02}.txt").write_text(book(30))
    assert texts(tmp_path) == [book(30)] * 50


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.txt").write_text("at home")
    assert texts("~/x.txt") == ["at home"]


@pytest.mark.parametrize("path", ["-", "somewhere/-"])
def test_standard_input(monkeypatch, path):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(book(100).encode())))
    source = build("data", "text", path=path)
    assert "".join(d.text for d in source.documents()) == book(100)
    assert "".join(d.text for d in source.documents()) == book(100), "a second reading has the same text"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"other")))
    assert build("data", "text", path=path).fingerprint() != source.fingerprint()


def test_bytes_that_are_no_utf8_are_counted_and_located(tmp_path):
    file = tmp_path / "old.txt"
    file.write_bytes(book(200).encode().replace(b"Paragraph 70", b"Paragra\xe9h 70"))
    corpus = prepare(build("data", "text", path=str(file)), build("tokenizer", "byte"), cache=tmp_path / "cache")
    assert corpus.report.counts["undecodable"] == 1
    assert corpus.report.examples["undecodable"] == [f"{file}:{70 * 3 + 1} (byte 0xe9)"]
    assert corpus.report.kept > 20


def test_nothing_but_undecodable_bytes_is_an_error(tmp_path):
    file = tmp_path / "utf16.txt"
    file.write_bytes("text in UTF-16".encode("utf-16"))
    with pytest.raises(UserError, match=r"1 undecodable: .*utf16\.txt:1 \(byte 0xff\)"):
        prepare(build("data", "text", path=str(file)), build("tokenizer", "byte"), cache=tmp_path / "cache")


def test_tables(tmp_path):
    rows = [{"n": 1, "body": "first, with\na line"}, {"n": 2, "body": "second é"}]
    (tmp_path / "a.jsonl").write_text("\n\n".join(map(json.dumps, rows)) + "\n", encoding="utf8")
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.csv").write_text('n,body\n1,"first, with\na line"\n2,second é\n', encoding="utf8")
    (tmp_path / "a.tsv").write_text('n\tbody\n1\t"first, with\na line"\n2\tsecond é\n', encoding="utf8")
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    for suffix in ("jsonl", "json", "csv", "tsv", "parquet"):
        assert texts(tmp_path / f"a.{suffix}", field="body") == ["first, with\na line", "second é"], suffix
    assert where(tmp_path / "a.jsonl", field="body") == [f"{tmp_path}/a.jsonl:1", f"{tmp_path}/a.jsonl:3"]
    assert where(tmp_path / "a.csv", field="body") == [f"{tmp_path}/a.csv:2", f"{tmp_path}/a.csv:4"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"text": "fine"}\n{"text": "cut', r"a\.jsonl:2: is no JSON"),
        ("a.jsonl", b'{"text": "fine"}\n["text"]\n', r"a\.jsonl:2: is no object but list"),
        ("a.jsonl", b'{"txt": "fine"}\n', r"a\.jsonl:1: has no field 'text'; did you mean 'txt'"),
        ("a.jsonl", b'{"text": 3}\n', r"a\.jsonl:1: field 'text' is no text but int"),
        ("a.json", b'[{"text": "a"},\n{"text": }]', r"a\.json:2: is no JSON"),
        ("a.json", b'{"text": "a"}', r"a\.json: holds no list"),
        ("a.json", b'[{"txt": "a"}]', r"a\.json\[0\]: has no field 'text'; did you mean 'txt'"),
        ("a.csv", b"a,b\n1,2\n", r"a\.csv:2: has no field 'text'; fields: a, b"),
        ("a.csv", b"a,text\n1,one, two\n", r"a\.csv:2: has 3 cells where the first line names 2"),
        ("a.csv", b"text,text\n1,2\n", r"a\.csv:1: names the column 'text' twice"),
        ("a.csv", b'text\n"one\n', r"a\.csv:\d: is no table: unexpected end"),
        ("a.parquet", b"PAR1 this is none", r"a\.parquet: is no parquet file"),
    ],
)
def test_damage_names_file_and_line(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        texts(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("bok.txt", r"no such file or folder; did you mean .*'book\.txt'"),
        ("*.log", "matches no file"),
        ("no/such/x.txt", "there is no folder"),
        ("empty", "has no text file .it is empty."),
        ("boks", r"has no text file .\.bin."),
    ],
)
def test_missing_input_is_said(tmp_path, path, words):
    (tmp_path / "book.txt").write_text("text")
    (tmp_path / "empty").mkdir()
    (tmp_path / "boks").mkdir()
    (tmp_path / "boks" / "x.bin").write_text("")
    with pytest.raises(UserError, match=words) as caught:
        build("data", "text", path=str(tmp_path / path)).fingerprint()
    assert str(caught.value).startswith(str(tmp_path / path))


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(UserError, match=r"1 empty: .*x\.txt:1"):
        prepare(build("data", "text", path=str(tmp_path / "x.txt")), build("tokenizer", "byte"), cache=tmp_path / "cache")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_said(tmp_path):
    (tmp_path / "x.txt").write_text("text")
    (tmp_path / "x.txt").chmod(0)
    with pytest.raises(UserError, match=r"x\.txt: cannot be read"):
        texts(tmp_path / "x.txt")


def test_fingerprint_follows_files_and_options(tmp_path):
    file = tmp_path / "x.txt"
    file.write_text("text")
    first = build("data", "text", path=str(file)).fingerprint()
    assert build("data", "text", path=str(file)).fingerprint() == first
    assert build("data", "text", path=str(file), split_on="lines").fingerprint() != first
    file.write_text("more text")
    assert build("data", "text", path=str(file)).fingerprint() != first


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("a.txt", {"field": "body"}, r"data\.field: .* is plain text, which has no fields; leave it out"),
        ("a.jsonl", {"split_on": "lines"}, r"data\.split_on: .* a row of a table is a document; leave it out"),
    ],
)
def test_an_option_that_no_file_heeds_is_refused(tmp_path, name, options, says):
    (tmp_path / name).write_text('{"body": "one"}\n')
    source = build("data", "text", path=str(tmp_path), **options)
    for asked in (source.fingerprint, lambda: list(source.documents())):
        with pytest.raises(UserError, match=says):
            asked()
    (tmp_path / "b.txt").write_text("two")
    (tmp_path / "b.jsonl").write_text('{"body": "three", "text": "four"}\n')
    assert build("data", "text", path=str(tmp_path), **options).fingerprint()


def test_standard_input_has_no_fields(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"body": "one"}')))
    with pytest.raises(UserError, match=r"data\.field: what comes from standard input is plain text"):
        build("data", "text", path="-", field="body").fingerprint()
