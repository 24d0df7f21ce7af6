"""Files in ranges: whatever the size of a range, the documents are those of the file read at once, and stand where they stand."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components import build
from components.core.errors import UserError
from components.corpus import prepare
from components.corpus.work import Asked, asking

BOOK = "".join(f"Paragraph {i} of the book, été.\nIt has {'many ' * (i % 9)}words.\n{' ' * (i % 3)}\n\n" for i in range(400))


def found(source, size):
    """(documents, notes) of all shards; each shard also goes through pickle, as on its way to another process."""
    import pickle

    documents, notes, shards = [], [], source.shards(size)
    for shard in pickle.loads(pickle.dumps(shards)):
        documents += [(d.text, d.where) for d in shard.documents()]
        notes += shard.notes
    return documents, notes, len(shards)


def same(path, sizes, **options):
    """The documents, if all sizes give the same."""
    source = build("data", "text", path=str(path), **options)
    whole, notes, one = found(source, 10**9)
    assert one == 1
    for size, least in sizes.items():
        documents, said, count = found(source, size)
        assert (documents, said) == (whole, notes), size
        assert count >= least, size
    assert [(d.text, d.where) for d in source.documents()] == whole
    assert source.notes == notes
    return whole


@pytest.mark.parametrize("way", ["auto", "lines", "blank_lines"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_large_text_file(tmp_path, way, mark):
    file = tmp_path / "book.txt"
    file.write_text(mark + BOOK, encoding="utf8")
    whole = same(file, {700: 25, 5000: 4, 30000: 1}, split_on=way)
    assert len(whole) > 80
    lines = BOOK.split("\n")
    for text, where in whole:
        assert lines[int(where.rsplit(":", 1)[1]) - 1].strip() == text.split("\n")[0].strip()


TEXT = st.lists(
    st.sampled_from(["a", "word. ", "\n", "\n\n", "\n \t\n", " ", "\u3000", "\x85", "é", "\r\n", "\r", "x" * 300]), max_size=60
)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(text=TEXT.map("".join), size=st.integers(1, 400), way=st.sampled_from(["auto", "lines", "blank_lines"]))
def test_any_text_and_any_size(tmp_path_factory, text, size, way):
    file = tmp_path_factory.mktemp("any") / "a.txt"
    file.write_bytes(text.encode() + b"\xe9 end")
    same(file, {size: 1}, split_on=way)


def test_rows_in_lines_packed_or_not(tmp_path):
    lines = [json.dumps({"text": f"row {i} " + "é" * (i % 50)}) + ("\r\n" if i % 3 else "\n\n") for i in range(300)]
    text = "".join(lines)
    (tmp_path / "a.jsonl").write_bytes(text.encode())
    whole = same(tmp_path / "a.jsonl", {100: 60, 3000: 6})
    assert len(whole) == 300
    assert whole[3][1].endswith(":5")  # an empty line stands before
    pa = pytest.importorskip("pyarrow")
    with gzip.open(tmp_path / "b.jsonl.gz", "wb") as f:
        f.write(text.encode())
    with pa.output_stream(str(tmp_path / "c.jsonl.zst"), compression="zstd") as f:
        f.write(text.encode())
    for name in ("b.jsonl.gz", "c.jsonl.zst"):
        packed = same(tmp_path / name, {100: 1})
        assert [t for t, _ in packed] == [t for t, _ in whole]
        assert [w.rsplit(":")[-1] for _, w in packed] == [w.rsplit(":")[-1] for _, w in whole]
    every = same(tmp_path, {100: 60})
    assert len(every) == 900, "a folder is searched for packed files as well"


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_packed_file_that_is_damaged_is_one_line(tmp_path, name):
    pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(b"no such thing")
    with pytest.raises(UserError, match=f"{name}: cannot be read"):
        list(build("data", "text", path=str(tmp_path / name)).documents())
    rows = b"".join(b'{"text": "%d"}\n' % i for i in range(1000))
    import pyarrow as pa

    with pa.output_stream(str(tmp_path / name), compression={"gz": "gzip", "zst": "zstd"}[name.rsplit(".")[-1]]) as f:
        f.write(rows)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-30])
    with pytest.raises(UserError, match=name):
        list(build("data", "text", path=str(tmp_path / name)).documents())


def test_parquet_by_row_groups(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = pa.table({"body": [f"row {i} " + "x" * (i % 70) for i in range(500)], "other": [0] * 500})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=40)
    pq.write_table(table.slice(0, 0), tmp_path / "b.parquet")
    whole = same(tmp_path, {10: 13, 8000: 3}, field="body")
    assert [t for t, _ in whole] == table["body"].to_pylist()
    assert whole[77][1] == f"{tmp_path / 'a.parquet'}:78"


def test_small_files_are_read_together(tmp_path):
    for i in range(200):
        (tmp_path / f"{i:03d}.txt").write_text(f"file {i}")
    _, _, count = found(build("data", "text", path=str(tmp_path)), 1000)
    assert 1 < count < 5


def test_a_corpus_of_ranges_is_that_of_the_file(tmp_path):
    (tmp_path / "book.txt").write_text(BOOK, encoding="utf8")
    source = build("data", "text", path=str(tmp_path / "book.txt"))
    one = prepare(source, build("tokenizer", "byte"), cache=tmp_path / "one")
    with asking(Asked(2, None, 3000)):
        more = prepare(
            build("data", "text", path=str(tmp_path / "book.txt")), build("tokenizer", "byte"), cache=tmp_path / "more"
        )
    assert (more.hash, more.report) == (one.hash, one.report)
    assert "cut at blank lines into" in one.report.notes[0]


@pytest.mark.parametrize("way", ["auto", "lines", "blank_lines"])
def test_a_file_is_read_in_constant_memory(tmp_path, way):
    peaks = []
    for n in (20, 80):
        file = tmp_path / f"{n}.txt"
        file.write_text(BOOK * n, encoding="utf8")
        source = build("data", "text", path=str(file), split_on=way)
        tracemalloc.start()
        count = sum(1 for shard in source.shards(2**17) for _ in shard.documents())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count > 300
    assert peaks[1] < 1.2 * peaks[0], peaks
