"""Broken and hostile files of every kind end in one line that names the file, or are read; none writes elsewhere or runs code.

The corpus is ``corpus.py``, whoever runs it ``run_cases.py``: half a minute for some 340 cases, each a command of its own, and all of them
in ``make slow``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.skipif(sys.platform != "linux", reason="forks, limits of memory and /proc")
@pytest.mark.parametrize(
    ("pattern", "least"), [pytest.param((), 200, id="a share"), pytest.param((".",), 2500, id="all", marks=pytest.mark.slow)]
)
def test_every_kind_of_strangers_files(tmp_path, pattern, least):
    results = tmp_path / "results.jsonl"
    words = [sys.executable, str(HERE / "run_cases.py"), str(tmp_path), str(results), *pattern]
    source = os.pathsep.join(filter(None, [str(HERE.parents[1] / "src"), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=1800, start_new_session=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in results.read_text().splitlines()]
    assert len(found) > least
    wrong = [f"{one['name']}: {one['wrong']}" for one in found if one["wrong"]]
    assert not wrong, "\n".join(wrong)
