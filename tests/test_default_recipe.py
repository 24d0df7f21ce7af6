"""The default recipe as a new user runs it, three seeds: minutes on purpose. Writes docs/results.md."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2)
FIGURES = {
    "validation loss": "val_loss",
    "bits per byte": "val_bits_per_byte",
    "seconds of training": "seconds",
    "samples that `ast.parse` accepts": "accepted_share",
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_three_seeds(tmp_path):
    """At most 1.6 bits per byte as their mean, and at most two minutes of training each, on two cores."""
    command = [
        sys.executable,
        "-m",
        "components",
        "train",
        "recipe=gpt_python",
        "--multirun",
        f"seed={','.join(map(str, SEEDS))}",
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folders = sorted((tmp_path / "runs" / "multirun").glob("*/*/summary.json"))
    runs = [json.loads(f.read_text()) for f in folders]
    assert len(runs) == len(SEEDS)
    mean = statistics.mean(r["val_bits_per_byte"] for r in runs)
    write_page(runs, mean)
    assert mean <= 1.6
    assert max(r["seconds"] for r in runs) <= 120


def write_page(runs: list[dict], mean: float) -> None:
    lines = ["# Results of the default recipe", "", "Written by `make slow`; do not edit.", ""]
    lines += ["`components train recipe=gpt_python --multirun seed=0,1,2`, two threads, no accelerator.", ""]
    lines += ["| seed | " + " | ".join(FIGURES) + " |", "|---|" + "--:|" * len(FIGURES)]
    for seed, run in zip(SEEDS, runs, strict=True):
        cells = [run.get(key) for key in FIGURES.values()]
        lines.append(f"| {seed} | " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells) + " |")
    lines += ["", f"Mean of the three: {mean:.3f} bits per byte of held-out documents.", ""]
    (ROOT / "docs" / "results.md").write_text("\n".join(lines), encoding="utf8")
