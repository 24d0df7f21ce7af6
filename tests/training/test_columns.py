"""The figures of a run are named in one file, from which table, lists, curves and progress take them."""

from __future__ import annotations

import ast
from pathlib import Path

import components
from components.runs import metrics_file
from components.runs.metrics_file import COLUMNS, HEADS, OF_LOSS, TITLES, called

SRC = Path(components.__file__).parent
LONG = {n for n in (*COLUMNS, *OF_LOSS) if "_" in n}  # a short one is a word of other things too
ELSEWHERE = {"callbacks.py"}  # a signature's default is a literal


def test_no_other_file_spells_a_column():
    found = {}
    for room in ("runs", "training", "cli", "evaluating"):
        for file in (SRC / room).glob("*.py"):
            strings = {n.value for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Constant)}
            if file.name not in {Path(metrics_file.__file__).name, *ELSEWHERE} and (spelled := LONG & strings):
                found[file.name] = spelled
    assert not found


def test_titles_and_heads_are_of_figures():
    assert {*HEADS} <= {*COLUMNS}
    assert {n for n in TITLES if n in COLUMNS} >= {*HEADS}
    assert {*OF_LOSS} <= {*TITLES}
    assert called("val_f1_macro") == "f1 macro"
