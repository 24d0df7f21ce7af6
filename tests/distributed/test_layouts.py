"""A run is the same run under every layout of ranks, for every family of models; docs/scale.md says what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import cases
import layouts

NEAR = 1e-9  # 64-true: what orders of summation leave, after 20 steps


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layouts")
    layouts.launch(1, ("one",), folder)
    return folder


@pytest.mark.timeout(700)
@pytest.mark.parametrize("ranks", [2, 4])
def test_every_family_trains_as_one_process_does(one, ranks):
    """Two minutes each: 16 runs of 20 steps for each layout, all in one launch."""
    layouts.launch(ranks, (*layouts.LAUNCHES[ranks], *(["cp"] if ranks == 4 else [])), one)
    for layout in layouts.LAUNCHES[ranks]:
        found = layouts.differences(one, layout)
        assert len(found) == 16
        for run, held in found.items():
            for what, difference in held.items():
                assert difference <= NEAR, f"{layout}, {run}: {what} differ by {difference:.1e}"
    if "tp" in layouts.LAUNCHES[ranks]:
        assert layouts.besides(one, "dropped", "tp") <= NEAR, "dropout under tp is not that of one process"
        assert layouts.besides(one, "moved", "tp") <= NEAR, "a run that went from ddp to tp, fsdp2 and tp is another one"
    if ranks == 4:
        found = layouts.differences(one, "cp")
        assert len(found) == len(cases.STRETCHED)
        assert all(difference <= NEAR for held in found.values() for difference in held.values()), found
    for layout in set(cases.DEALT) & set(layouts.LAUNCHES[ranks]):
        assert layouts.besides(one, "dealt", layout) <= NEAR, f"{layout} with experts dealt out is another run"


def test_the_page_has_the_table_of_the_kept_figures():
    figures = json.loads(layouts.FIGURES.read_text(encoding="utf8"))
    text = layouts.PAGE.read_text(encoding="utf8")
    assert text == layouts.page(text, figures), "python tests/distributed/layouts.py --write"
    assert all(d <= NEAR for runs in figures.values() for held in runs.values() for d in held.values())
