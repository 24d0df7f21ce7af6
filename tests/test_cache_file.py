"""The index of parts sees a file that holds something else, whatever size and time of writing it has."""

from __future__ import annotations

import os

from components.core import plugins
from components.core.cache_file import state_of


def test_the_same_size_and_time_of_writing_is_another_state(tmp_path):
    file = tmp_path / "part.py"
    stamps = []
    for text in ("eps = 0.1\n", "eps = 0.2\n"):
        file.write_text(text)
        os.utime(file, (1.5e9, 1.5e9))
        stamps.append((state_of(file), plugins.stamp([str(tmp_path)], [])))
    assert stamps[0][0][:2] == stamps[1][0][:2]
    assert stamps[0][0] != stamps[1][0]
    assert stamps[0][1] != stamps[1][1]
    assert plugins.stamp([], [str(tmp_path / "gone.py")]) == [[str(tmp_path / "gone.py")]]
