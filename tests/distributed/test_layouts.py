"""A run is the same run under every layout of ranks, for every family of models; docs/scale.md says what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import cases
import layouts

NEAR = 1e-9  # 64-true: what orders of summation leave
NEAR_LOSS = {"Qwen3-like, 32-true": 1e-5, "Qwen3-like, bf16-mixed": 1e-2}


def check(found: dict[str, dict[str, float]], layout: str) -> None:
    for run, held in found.items():
        near = NEAR_LOSS.get(run.rpartition(",")[0])
        for what, difference in held.items():
            if near is None or what != "weights":
                assert difference <= (near or NEAR), f"{layout}, {run}: {what} differ by {difference:.1e}"


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("how", ["quarter", pytest.param("all", marks=pytest.mark.slow)])
def test_every_family_trains_as_one_process_does(how, tmp_path):
    """A minute for a quarter of the runs, each of 5 steps: they start 150 trainings on four ranks. All of 20 steps take four."""
    layouts.launch(1, ("one",), tmp_path, how)
    for ranks, under in layouts.LAUNCHES.items():
        if ranks > 1:
            layouts.launch(ranks, under, tmp_path, how)
    for layout in (name for name in cases.LAYOUTS if name != "one"):
        found = layouts.differences(tmp_path, layout)
        assert found.keys() == {f"{family}, {n}" for family, n in cases.runs_of(layout, how)}
        check(found, layout)
    assert layouts.besides(tmp_path, "dropped", "tp") <= NEAR, "dropout under tp is not that of one process"
    assert layouts.besides(tmp_path, "moved", "tp") <= NEAR, "a run that went from ddp to tp, fsdp2 and tp is another one"
    for layout in cases.DEALT:
        assert layouts.besides(tmp_path, "dealt", layout) <= NEAR, f"{layout} with experts dealt out is another run"
        assert layouts.besides(tmp_path, "sent", layout) <= NEAR, f"{layout} with tokens sent to experts is another run"
        for family in cases.PARTED:
            assert layouts.besides(tmp_path, f"parted {family}", layout) <= NEAR, (
                f"{family} under {layout} with positions dealt out"
            )


def test_a_quarter_has_each_family_under_each_kind_of_layout():
    runs = {layout: cases.runs_of(layout, "quarter") for layout in cases.LAYOUTS if layout not in ("one", "cp")}
    assert {n for held in runs.values() for _, n in held} == set(cases.ACCUMULATE)
    for kind in (("ddp", "fsdp2", "hsdp"), ("tp", "fsdp2_tp")):
        assert {f for layout in kind for f, _ in runs[layout]} == {*cases.FAMILIES, *cases.OPTIMIZERS, *cases.PRECISIONS}, kind
    for layout, held in runs.items():
        assert len(held) <= len(cases.RUNS) * 0.4, layout
        assert set(cases.PRECISIONS) <= {f for f, _ in held}, layout
        assert set(held) <= set(cases.RUNS), layout


def test_the_page_has_the_table_of_the_kept_figures():
    figures = json.loads(layouts.FIGURES.read_text(encoding="utf8"))
    text = layouts.PAGE.read_text(encoding="utf8")
    assert text == layouts.page(text, figures), "python tests/distributed/layouts.py --write"
    for layout, found in figures.items():
        check(found, layout)
