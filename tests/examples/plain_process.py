"""An example in a process of its own, in a fresh folder, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import warm_server

ROOT = Path(__file__).parents[2]


def output(folder: Path, example: str, *words: str) -> str:
    """What it prints; an AssertionError with its last lines where it fails."""
    environment = {**os.environ, "PYTHONPATH": warm_server.on_path(str(ROOT / "src")), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "examples" / example), *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout
