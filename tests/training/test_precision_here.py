"""``trainer.precision=auto``: bf16 where the device multiplies it, fp32 elsewhere, and a run goes on in what it began in."""

from __future__ import annotations

import json

import pytest
import torch
import yaml

from components.cli import main
from components.core.errors import UserError
from components.functional import precision
from components.training.devices import precision_here, slow_line, with_precision_of_here
from components.training.experiment import Job, fit
from components.training.making import make_trainer
from components.training.preflight import check_settings


@pytest.fixture(params=[True, False], ids=["products of bf16", "none"])
def has(request, monkeypatch) -> bool:
    """A processor with products of bf16, and one without."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: request.param)
    monkeypatch.setattr(precision.platform, "machine", lambda: "x86_64")
    return request.param


def test_auto_is_what_the_device_multiplies(has, tiny):
    chosen = "bf16-mixed" if has else "32-true"
    assert precision_here("auto", "cpu") == chosen
    assert precision_here("64-true", "cpu") == "64-true"
    assert [precision_here(p) for p in ("bf16", "16", 16, 32, "64", None)] == [
        *("bf16-mixed", "16-mixed", "16-mixed", "32-true", "64-true", "32-true")
    ]
    settings = {**check_settings(tiny())}
    made = make_trainer({**settings, "precision": "auto", "accelerator": "cpu"}, 5, 1)
    assert made.precision == chosen


def test_bf16_that_is_asked_for_is_taken_and_said_to_be_slow(has):
    assert with_precision_of_here({"trainer": {"precision": "bf16-mixed"}}) == {"trainer": {"precision": "bf16-mixed"}}
    said = slow_line({"precision": "bf16-mixed", "accelerator": "cpu"})
    assert said == (
        []
        if has
        else ["trainer.precision=bf16-mixed is slower than 32-true here: this device has no products of bf16 (auto chooses)"]
    )
    assert slow_line({"precision": "32-true", "accelerator": "cpu"}) == []


def test_a_run_goes_on_in_the_precision_that_it_began_in(tiny, monkeypatch):
    monkeypatch.setattr("components.functional.precision.multiplies_bf16", lambda _: True)
    config = tiny(trainer={"precision": "auto", "max_steps": 2, "accelerator": "cpu"})
    run = fit(Job(config)).folder
    assert yaml.safe_load((run / "config.yaml").read_text(encoding="utf8"))["trainer"]["precision"] == "bf16-mixed"
    monkeypatch.setattr("components.functional.precision.multiplies_bf16", lambda _: False)
    assert main(["train", f"resume={run}", "trainer.max_steps=4"]) == 0
    assert yaml.safe_load((run / "config.yaml").read_text(encoding="utf8"))["trainer"]["precision"] == "bf16-mixed"


@pytest.mark.parametrize(("accelerator", "chosen"), [("h100", "bf16-mixed"), ("t4", "32-true")])
def test_a_plan_asks_the_accelerator_that_it_is_for(accelerator, chosen, capsys):
    assert (
        main(
            [
                "plan",
                "recipe=llama_tiny",
                "trainer.precision=auto",
                "--accelerator",
                accelerator,
                "--json",
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["precision"] == chosen


def test_a_short_name_is_the_whole_one_and_lightning_has_nothing_to_say(tiny, capfd):
    run = fit(Job(tiny(trainer={"precision": "bf16", "max_steps": 1, "accelerator": "cpu"}))).folder
    assert yaml.safe_load((run / "config.yaml").read_text(encoding="utf8"))["trainer"]["precision"] == "bf16-mixed"
    assert "historical" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["gpu", "cuda", "mps"])
def test_an_accelerator_that_is_not_here_is_told_in_our_words(tiny, name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=rf"trainer\.accelerator: this machine has no {name}, .*; use cpu or auto"):
        fit(Job(tiny(trainer={"accelerator": name, "max_steps": 1})))
