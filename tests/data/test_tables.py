"""Tables of numbers, with labels and with amounts; pictures as numbers."""

from __future__ import annotations

import math

import pytest

from components import build
from components.core.errors import UserError

CSV = "id,red,green,kind,note\n1,10,0.5,leaf,x\n2,-20,1e1,flower,y\n3,30,0,leaf,z\n"


@pytest.fixture
def file(tmp_path):
    (tmp_path / "t.csv").write_text(CSV)
    return tmp_path / "t.csv"


def source(name: str, file, **options):
    return build("data", name, path=str(file), **options)


def test_rows_of_numbers_with_labels(file):
    made = source("table", file, label="kind", features=("green", "red"), labels=("leaf", "flower"))
    found = list(made.examples())
    assert [(e.input, e.answer, e.line) for e in found] == [
        (((0.5, 10.0),), "leaf", 2),
        (((10.0, -20.0),), "flower", 3),
        (((0.0, 30.0),), "leaf", 4),
    ]
    assert made.labels == ("leaf", "flower")
    assert made.notes == ["columns as they stand: green 0 to 10, red -20 to 30"]


def test_every_column_with_a_number_is_a_feature(file):
    made = source("table", file, label="kind")
    assert [e.input for e in made.examples()] == [((1.0, 10.0, 0.5),), ((2.0, -20.0, 10.0),), ((3.0, 30.0, 0.0),)]
    assert made.notes[1] == "columns left out, without a number in them: note"


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "tsv"])
def test_other_formats_give_the_same(file, tmp_path, suffix):
    rows = [
        dict(zip(("id", "red", "green"), (n, r, g)), kind=k) for n, r, g, k in ((1, 10, 0.5, "leaf"), (2, -20, 10, "flower"))
    ]
    if suffix == "jsonl":
        import json

        (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    elif suffix == "tsv":
        (tmp_path / "t.tsv").write_text("".join(CSV.replace(",", "\t").splitlines(True)[:3]))
    else:
        import pyarrow
        import pyarrow.parquet as pq

        pq.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    expected = [(e.input, e.answer) for e in source("table", file, label="kind").examples()][:2]
    assert [(e.input, e.answer) for e in source("table", tmp_path / f"t.{suffix}", label="kind").examples()] == expected


def test_scale_is_fixed_by_the_config(file):
    options = {"label": "kind", "features": ("red", "green")}
    scaled = source("table", file, subtract=(10.0, 0.0), divide_by=(2.0,), **options)
    assert [e.input for e in scaled.examples()] == [((0.0, 0.25),), ((-15.0, 5.0),), ((10.0, 0.0),)]
    assert scaled.fingerprint() != source("table", file, **options).fingerprint()
    with pytest.raises(UserError, match=r"data\.divide_by: 3 numbers for 2 columns"):
        list(source("table", file, divide_by=(1.0, 2.0, 3.0), **options).examples())
    with pytest.raises(ValueError, match=r"divide_by=\[0.0\] has a 0"):
        source("table", file, divide_by=(0.0,), **options)


def test_amounts(file):
    made = source("table_amounts", file, targets=("green", "red"), features=("id",), targets_divide_by=(1.0, 10.0))
    assert [(e.input, e.answer) for e in made.examples()] == [
        (((1.0,),), (0.5, 1.0)),
        (((2.0,),), (10.0, -2.0)),
        (((3.0,),), (0.0, 3.0)),
    ]
    assert next(source("table_amounts", file, targets=("green",)).examples()).input == ((1.0, 10.0),)
    with pytest.raises(ValueError, match="targets is empty"):
        source("table_amounts", file, targets=())


def test_missing_and_abnormal_cells_are_counted_or_refused(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("a,b,label\n1,2,x\n,2,x\nNA,3,y\n5,oops,x\n6,inf,x\n7,8,\n9\n1_0,1,x\n")
    with pytest.raises(UserError, match=r"t\.csv:5: column 'b' holds 'oops', which is no number; data\.abnormal=drop"):
        list(source("table", file).examples())
    made = source("table", file, abnormal="drop")
    found = list(made.examples())
    finite = [all(map(math.isfinite, e.input[0])) for e in found]
    assert finite == [True, False, False, False, False, True, False, False]
    assert [e.answer for e in found] == ["x", "x", "y", "x", "x", None, None, "x"]
    assert made.notes[1] == f"cells that are empty: 5, such as {file}:3 (a); {file}:4 (a); their rows are left out"
    assert (
        made.notes[2]
        == f"cells that are no numbers: 3, such as {file}:5 (b='oops'); {file}:6 (b='inf'); their rows are left out"
    )
    with pytest.raises(UserError, match=r"t\.csv:3: column 'a' is empty; data\.missing=drop"):
        list(source("table", file, missing="refuse", abnormal="drop").examples())
    file.write_text("a,label\n1,\n")
    with pytest.raises(UserError, match=r"t\.csv:2: the label is empty"):
        list(source("table", file, missing="refuse").examples())


def test_columns_that_there_are_not(file, tmp_path):
    with pytest.raises(
        UserError, match=r"t\.csv:2: has no column 'label'; columns: .*; choose by data.label=, or name those of a file"
    ):
        list(source("table", file).examples())
    with pytest.raises(UserError, match=r"has no column 'gren'; did you mean 'green'"):
        list(source("table", file, label="kind", features=("gren",)).examples())
    (tmp_path / "u.csv").write_text("a,label\nx,y\n")
    with pytest.raises(UserError, match=r"u\.csv: has no column of numbers"):
        list(source("table", tmp_path / "u.csv").examples())


def test_a_table_without_names(tmp_path):
    (tmp_path / "iris.data").write_text("5.1,3.5,setosa\n4.9,3.0,setosa\n\n")
    found = list(source("table", tmp_path / "iris.data", columns=("long", "wide", "label")).examples())
    assert [(e.input, e.answer, e.line) for e in found] == [(((5.1, 3.5),), "setosa", 1), (((4.9, 3.0),), "setosa", 2)]


def test_digits_are_cut_into_patches():
    from sklearn.datasets import load_digits

    images = load_digits().images
    for patch in (1, 2, 4, 8):
        made = build("data", "digits", patch=patch)
        found = list(made.examples())
        assert len(found) == 1797
        assert (len(found[0].input), len(found[0].input[0])) == (64 // patch**2, patch**2)
        grid = images[5].reshape(8 // patch, patch, 8 // patch, patch).transpose(0, 2, 1, 3).reshape(-1, patch**2) / 16
        assert found[5].input == tuple(map(tuple, grid.tolist()))
    assert {e.answer for e in found} == set(made.labels)
    assert found[5].answer == str(load_digits().target[5])
    assert made.fingerprint() != build("data", "digits").fingerprint()
