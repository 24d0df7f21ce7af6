"""The shares of a mixture are columns of metrics.csv and figures of W&B, of all that was read since the row before."""

from __future__ import annotations

import numpy as np
import pytest
import wandb_reader

import components
from components.corpus import prepare
from components.corpus.blocks import Blocks
from components.corpus.shares import Shares
from components.runs.metrics_file import read_rows
from components.training.experiment import Job, fit


def test_shares_are_in_metrics_and_wandb_and_a_run_goes_on_with_them(tiny, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    parts = []
    for name, words in (("wiki", "it is said that {}"), ("code", "x = {}; y = x + {}; print(y)")):
        (tmp_path / name).write_text("\n\n".join(words.replace("{}", str(i)) for i in range(400)))
        parts.append({"name": "text", "path": str(tmp_path / name), "split_on": "blank_lines"})
    data = {"name": "mixed", "parts": parts, "weights": [3, 1], "names": ["wiki", "code"]}
    config = tiny(data=data, logger={"name": "wandb"}, trainer={"max_steps": 6, "log_every_n_steps": 4})
    folder = fit(Job(config, "tiny", quiet=True)).folder
    components.train(None, [f"resume={folder}", "trainer.max_steps=12"], quiet=True)
    wandb.teardown()
    corpus = prepare(
        components.build("data", **data),
        components.build("tokenizer", "byte"),
        cache=config["paths"]["cache"],
        validation=0.2,
        test=0.1,
        max_chars=1_000_000,
    )
    shares = Shares(corpus.sources, Blocks(corpus.train, 16, seed=config["seed"]), 8)
    rows = [row for row in read_rows(folder / "metrics.csv") if row.get("share_wiki") is not None]
    assert [row["step"] for row in rows] == [4, 6, 8, 12]
    for before, row in zip([0, 4, 6, 8], rows):
        for name, share in shares(before, int(row["step"])).items():
            assert float(row[name]) == pytest.approx(share, rel=1e-5)
    whole = shares(0, 40)
    assert np.isclose(whole["share_wiki"], 0.75, atol=0.05), whole
    sent = [h for part in wandb_reader.read_all(folder) for h in part.history]
    assert [h["share_code"] for h in sent if "share_code" in h] == pytest.approx(
        [float(row["share_code"]) for row in rows], rel=1e-5
    )
