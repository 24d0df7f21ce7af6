"""The example of a Trainer of one's own."""

from __future__ import annotations

import re

import pytest
from plain_process import output

pytestmark = pytest.mark.usefixtures("warm_processes")


def test_it_trains_tests_predicts_and_loads_what_it_kept(tmp_path):
    said = output(tmp_path, "plain_trainer.py")
    loss, bits = (float(x) for x in re.search(r"test loss ([\d.]+), ([\d.]+) bits", said).groups())
    assert 1 < loss < 5, "it has learnt something"
    assert 1 < bits < 8
    assert "predicted: [(8, 64, 261), (8, 64, 261)]" in said
    assert "\ndef " in said
    assert {"best.ckpt", "samples.txt", "lightning_logs"} <= {p.name for p in (tmp_path / "plain_trainer").iterdir()}
    assert "=== step 20, sample 1 ===" in (tmp_path / "plain_trainer" / "samples.txt").read_text()
