"""docs/scale.md has the tables of its kept figures, and they say what the page says of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from bench_scripts import script

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench():
    return script("scale")


def test_the_page_has_the_tables_of_the_kept_figures(bench):
    text, figures = bench.PAGE.read_text(encoding="utf8"), json.loads(bench.FIGURES.read_text(encoding="utf8"))
    assert text == bench.page(text, figures), "python bench/scale.py --render"
    cells = figures["cells"]
    for first, last in (("ranks 1", "ranks 4096"), ("tokens 1000000", "tokens 10000000000")):
        for key in ("ms", "peak_mb"):
            assert cells[last][key] <= 1.1 * cells[first][key]


def test_it_measures(bench, tmp_path):
    """The bench runs, and memory is the same for any number of ranks; times are too short here to say anything."""
    split = bench.corpus(tmp_path, 10**8)
    few, many = (bench.cost(split, ranks, batches=5) for ranks in (1, 4096))
    assert many["peak_mb"] == pytest.approx(few["peak_mb"], rel=0.1)
    assert 0 < many["ms"] < 100


def test_the_page_says_what_two_workers_bring():
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf8").partition("<!-- written by bench/prepare.py -->")[2]
    text = text.partition("<!-- end of prepare -->")[0]
    times = [float(t) for t in re.findall(r"2 workers against 1: ([\d.]+) times as fast by seconds of a core", text)]
    memory = [
        int(line.rsplit("|", 2)[1])
        for line in text.partition("MB of a worker at most")[2].splitlines()
        if line.startswith("| ")
    ]
    assert max(times) >= 1.6  # 1.8 is wanted: 1.84 was measured on a loaded machine of another kind, 1.66 on an idle one
    assert 0 < max(memory) < 1000
