"""The example of LightningCLI."""

from __future__ import annotations

import csv

import pytest
from plain_process import output

pytest.importorskip("jsonargparse", reason="LightningCLI reads its command line with it")

pytestmark = pytest.mark.usefixtures("warm_processes")


def test_flags_of_the_trainer_and_words_of_the_recipe_stand_side_by_side(tmp_path):
    words = [
        "--model.overrides",
        "[model/attention=mla, model.n_layers=1]",
        "--trainer.max_steps",
        "4",
        "--trainer.accelerator",
        "cpu",
    ]
    output(
        tmp_path,
        "lightning_cli.py",
        "fit",
        *words,
        "--trainer.log_every_n_steps=2",
        "--trainer.logger=lightning.pytorch.loggers.CSVLogger",
        "--trainer.logger.save_dir=kept",
    )
    (version,) = (tmp_path / "kept" / "lightning_logs").iterdir()
    rows = list(csv.DictReader((version / "metrics.csv").open()))
    assert [r["step"] for r in rows if r["train_loss"]] == ["1", "3"]
    assert "name: mla" in (version / "hparams.yaml").read_text()
    assert "attention=mla" in (version / "config.yaml").read_text()
    assert [p.name for p in (version / "checkpoints").iterdir()] == ["epoch=0-step=4.ckpt"]
