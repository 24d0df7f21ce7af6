"""The user's own labelled texts and pairs: what is read, and what is said about damage."""

from __future__ import annotations

import json

import pytest

from components import build
from components.core.errors import UserError

PAIRS = [("A cat, black.", 'Un "chat" noir.'), ("Two\nlines", "été")]


def examples(name: str, path, **options):
    return list(build("data", name, path=str(path), **options).examples())


def answers(name: str, path, **options):
    return [(e.input, e.answer) for e in examples(name, path, **options)]


def write(folder, rows: list[dict]) -> None:
    """The same rows in every format."""
    names = list(rows[0])
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf8")
    (folder / "a.json").write_text(json.dumps(rows))
    for suffix, delimiter in (("csv", ","), ("tsv", "\t")):
        cells = [names, *([str(r[n]) for n in names] for r in rows)]
        lines = [delimiter.join('"' + c.replace('"', '""') + '"' for c in line) for line in cells]
        (folder / f"a.{suffix}").write_text("\n".join(lines) + "\n", encoding="utf8")
    import pyarrow
    import pyarrow.parquet as pq

    pq.write_table(pyarrow.Table.from_pylist(rows), folder / "a.parquet")


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same(tmp_path, suffix):
    write(tmp_path, [{"n": 1, "source": s, "target": t, "label": i} for i, (s, t) in enumerate(PAIRS)])
    assert answers("text_pairs", tmp_path / f"a.{suffix}") == PAIRS
    found = examples("labelled_text", tmp_path / f"a.{suffix}", text="target")
    assert [(e.input, e.answer) for e in found] == [(t, str(i)) for i, (_, t) in enumerate(PAIRS)]
    assert found[1].where.startswith(str(tmp_path / f"a.{suffix}"))


def test_lines_are_those_of_the_file(tmp_path):
    write(tmp_path, [{"source": s, "target": t} for s, t in [*reversed(PAIRS), *PAIRS]])
    assert [e.line for e in examples("text_pairs", tmp_path / "a.csv")] == [2, 4, 5, 6]
    (tmp_path / "b.csv").write_text("source,target\n\na,b\n\n\nc,d\n")
    assert [e.line for e in examples("text_pairs", tmp_path / "b.csv")] == [3, 6]


def test_a_file_without_a_line_of_names(tmp_path):
    (tmp_path / "a.tsv").write_text('Go!\tVa !\tCC-BY 1\n"Hi," she said.\tSalut.\tCC-BY 2\n')
    with pytest.raises(UserError, match=r"a\.tsv:2: is no table.*; if quotation marks are part of the text: quotes=false"):
        examples("text_pairs", tmp_path / "a.tsv", columns=("source", "target", "by"))
    options = {"columns": ("source", "target", "by"), "quotes": False}
    assert answers("text_pairs", tmp_path / "a.tsv", **options) == [("Go!", "Va !"), ('"Hi," she said.', "Salut.")]
    assert [e.line for e in examples("text_pairs", tmp_path / "a.tsv", **options)] == [1, 2]
    with pytest.raises(UserError, match=r"a\.tsv:1: has 3 cells where columns names 2"):
        examples("text_pairs", tmp_path / "a.tsv", columns=("source", "target"), quotes=False)
    with pytest.raises(
        UserError, match=r"has no field 'source'.*choose by data.source=, or name those of a file .*: data\.columns=\[\.\.\.\]"
    ):
        examples("text_pairs", tmp_path / "a.tsv", quotes=False)


def test_objects_within_cells(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"translation": {"en": "yes", "fr": "oui"}}\n')
    assert answers("text_pairs", tmp_path / "a.jsonl", source="translation.en", target="translation.fr") == [("yes", "oui")]
    with pytest.raises(UserError, match=r"a\.jsonl:1: has no field 'translation\.de'"):
        answers("text_pairs", tmp_path / "a.jsonl", source="translation.en", target="translation.de")


def test_what_is_missing_is_there_for_cleaning_to_count(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n,good\nfine,\nalone\nbad, poor \n")
    assert answers("labelled_text", tmp_path / "a.csv") == [("", "good"), ("fine", None), ("alone", None), ("bad", "poor")]
    (tmp_path / "a.jsonl").write_text('{"source": null, "target": "a"}\n{"source": "b", "target": null}\n')
    assert answers("text_pairs", tmp_path / "a.jsonl") == [("", "a"), ("b", None)]


def test_labels_in_a_given_order(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": 1}\n{"text": "y", "label": true}\n{"text": "z", "label": 2.0}\n')
    assert [e.answer for e in examples("labelled_text", tmp_path / "a.jsonl")] == ["1", "true", "2"]
    assert build("data", "labelled_text", path=str(tmp_path / "a.jsonl"), labels=("2", "1")).labels == ("2", "1")
    with pytest.raises(UserError, match=r"a\.jsonl:2: the label 'true' is none of data\.labels; labels: 1, 2"):
        examples("labelled_text", tmp_path / "a.jsonl", labels=("2", "1"))
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": [1]}\n')
    with pytest.raises(UserError, match=r"a\.jsonl:1: field 'label' is no label but list"):
        examples("labelled_text", tmp_path / "a.jsonl")


def test_splits_of_the_users_own(tmp_path):
    for name in ("train", "dev", "final"):
        (tmp_path / f"{name}.tsv").write_text(f"source\ttarget\n{name}\tx\n")
    train, dev, final = (str(tmp_path / f"{n}.tsv") for n in ("train", "dev", "final"))
    split = lambda **given: [(e.input, e.split) for e in examples("text_pairs", train, **given)]  # noqa: E731
    assert split() == [("train", None)]
    assert split(test_path=final) == [("train", None), ("final", "test")]
    assert split(validation_path=dev, test_path=final) == [("train", "train"), ("dev", "validation"), ("final", "test")]
    prints = {
        build("data", "text_pairs", path=train, **g).fingerprint() for g in ({}, {"test_path": dev}, {"validation_path": dev})
    }
    assert len(prints) == 3


def test_a_folder_and_a_pattern(tmp_path):
    for name in ("b.csv", "a.csv", "notes.txt"):
        (tmp_path / name).write_text(f"source,target\n{name},x\n")
    assert [e.input for e in examples("text_pairs", tmp_path)] == ["a.csv", "b.csv"]
    assert [e.input for e in examples("text_pairs", tmp_path / "*.txt")] == ["notes.txt"]
    (tmp_path / "sub").mkdir()
    with pytest.raises(UserError, match=r"has no table .it is empty."):
        examples("text_pairs", tmp_path / "sub")


def test_fingerprint_follows_files_and_options(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("text,label\nx,1\n")
    first = build("data", "labelled_text", path=str(file)).fingerprint()
    assert first == build("data", "labelled_text", path=str(file)).fingerprint()
    for changed in ({"label": "text"}, {"labels": ("1",)}, {"columns": ("text", "label")}, {"quotes": False}):
        assert first != build("data", "labelled_text", path=str(file), **changed).fingerprint(), changed
    file.write_text("text,label\nx,2\ny,3\n")
    assert first != build("data", "labelled_text", path=str(file)).fingerprint()
