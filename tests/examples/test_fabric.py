"""The example of a loop with Fabric."""

from __future__ import annotations

import re

import pytest
from plain_process import output

pytestmark = pytest.mark.usefixtures("warm_processes")


def test_a_loop_of_ones_own_learns_and_its_schedule_ends(tmp_path):
    said = output(tmp_path, "fabric.py")
    steps = [(int(s), float(loss), float(lr)) for s, loss, lr in re.findall(r"step (\d+)  loss ([\d.]+)  lr (\S+)", said)]
    assert [s for s, *_ in steps] == [10, 20, 30, 40]
    assert steps[-1][1] < steps[0][1]
    assert steps[-1][2] == 3e-4  # cosine's floor, a tenth
    assert "(8, 64, 261)" in said
