"""A run that is stopped at any step goes on under any layout of ranks; docs/scale.md says what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import relaid

NEAR = 1e-9  # 64-true: what orders of summation leave


@pytest.mark.timeout(1000)
def test_a_run_goes_on_under_every_layout(tmp_path, monkeypatch):
    """Three quarters of a minute: 22 runs of 16 steps or a part of them, in two launches and here. The steps are drawn anew every day."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    seed = relaid.today()
    found = relaid.measured(tmp_path, seed)
    for what, near in (("chain", found["chain"]), *found["others"].items()):
        assert max(near) <= NEAR, f"seed {seed}, {what}: {found}"
    assert len(relaid.losses(tmp_path / "chain")) >= relaid.STEPS


def test_the_page_has_the_table_of_the_kept_figures():
    figures = json.loads(relaid.FIGURES.read_text(encoding="utf8"))
    text = relaid.PAGE.read_text(encoding="utf8")
    assert text == relaid.page(text, figures), "python tests/distributed/relaid.py --write"
    assert max(max(d) for d in (figures["chain"], *figures["others"].values())) <= NEAR
