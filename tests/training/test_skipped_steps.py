"""What an optimizer counts is among the run's figures: the steps that skip_step skipped."""

from __future__ import annotations

import csv
import json

from components.training.experiment import Job, fit


def test_skipped_steps_are_a_column_and_a_line(tiny, capsys):
    outer = {"name": "skip_step", "window": 4, "sigma": 0.001, "inner": {"name": "adamw", "lr": 0.01}}
    config = tiny(optimizer=outer, trainer={"max_steps": 12, "log_every_n_steps": 1, "gradient_clip_val": 1.0})
    config["optimizer"] = outer
    done = fit(Job(config, "skipping"))
    rows = [r for r in csv.DictReader((done.folder / "metrics.csv").open()) if r["train_loss"]]
    counts = [int(r["skipped_steps"]) for r in rows]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert done.figures["skipped_steps"] == counts[-1] > 0
    assert json.loads((done.folder / "summary.json").read_text())["skipped_steps"] == counts[-1]
    assert f"steps skipped as outliers       {counts[-1]}\n" in capsys.readouterr().out
