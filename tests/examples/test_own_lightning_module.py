"""The example of our parts in a LightningModule of one's own."""

from __future__ import annotations

import re

import pytest
from plain_process import output

pytestmark = pytest.mark.usefixtures("warm_processes")


@pytest.mark.parametrize("words", [(), ("differential",)])
def test_it_learns_to_say_a_row_backwards(tmp_path, words):
    said = output(tmp_path, "own_lightning_module.py", *words)
    assert float(re.search(r"accuracy ([\d.]+)", said)[1]) > 0.8  # chance is far below
    assert said.splitlines()[-1].startswith(f"{(words or ('gqa',))[0]}: ")
