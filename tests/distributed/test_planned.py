"""What ``components plan`` foretells is what ranks of real runs hold; docs/scale.md has the figures that were kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import planned

NEAR = 0.15  # of the most at once


@pytest.mark.timeout(400)
@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_bytes_are_those_that_ranks_hold(tmp_path, ranks):
    """40 seconds each: all runs of so many processes, in one launch. Pieces of one width do not divide into four."""
    found = planned.measured(ranks, tmp_path)
    assert len(found) == {2: 44, 4: 27}[ranks]
    for run, both in found.items():
        assert len(both["held"]) == len(both["planned"]) == ranks
        for held, told in zip(both["held"], both["planned"], strict=True):
            assert {n: held[n] for n in planned.KEPT} == {n: told[n] for n in planned.KEPT}, run
        for counted, told in planned.peaks(run, both):
            assert abs(told / counted - 1) <= NEAR, f"{run}: {told:,} planned, {counted:,} held"


def test_the_page_has_the_table_of_the_kept_figures():
    kept = json.loads(planned.FIGURES.read_text())
    text = planned.PAGE.read_text(encoding="utf8")
    assert planned.page(text, kept) == text
    assert len(kept) == 71
