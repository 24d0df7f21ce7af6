"""docs/how_to/decode_faster.md has the figures that bench/decoding.py measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench_scripts import script

ROOT = Path(__file__).parent.parent.parent


def test_the_table_is_what_was_measured(monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    bench = script("decoding")
    held, text = json.loads(bench.HELD.read_text(encoding="utf8")), bench.PAGE.read_text(encoding="utf8")
    assert bench.page(text, held) == text, "python bench/decoding.py --write"
    assert {(r["shape"], r["rows"]) for r in held["rows"]} == {("a", 1), ("c", 1), ("c", 16)}
