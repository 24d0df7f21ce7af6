"""A saved config composes again: alone, with overrides, after renames, and never as code."""

from __future__ import annotations

import copy

import pytest

from components.core.errors import UserError


def test_a_saved_config_is_a_fixed_point(run) -> None:
    composed = run("net.mixer=windowed", "net.layers.last.scale=nothing", "logger=wandb", "trainer.max_steps=5", recipe="child")
    again = run(base=composed.config)
    assert again.config == composed.config
    assert again.recipe == "child"
    assert again.difference == again.notes == []


def test_overrides_on_a_saved_config(run) -> None:
    saved = run(recipe="child").config
    composed = run("net.mixer=latent", "logger=wandb", "trainer=default", base=saved)
    assert composed.config["net"]["mixer"]["n_heads"] == 2
    assert composed.config["logger"] == {"name": "wandb", "project": "x"}
    assert composed.config["trainer"] == {"max_steps": 7, "precision": "32-true", "max_time": None}
    assert composed.notes[0].startswith("net.mixer: many -> latent (command line); kept n_heads=2 (saved config of child)")
    assert composed.origin("net.width") == "saved config of child"


def test_earlier_names_of_parts_and_options(run) -> None:
    saved = copy.deepcopy(run(recipe="parent").config)
    saved["net"]["mixer"]["name"] = "multi"
    saved["net"]["wide"] = saved["net"].pop("width")
    composed = run(base=saved)
    assert composed.config["net"]["mixer"]["name"] == "many"
    assert composed.config["net"]["width"] == 64
    assert run("net.wide=8").config["net"]["width"] == 8


def test_it_says_what_made_it(run) -> None:
    about = run().config["components"]
    assert about["schema"] == 1
    assert about["version"]


def test_a_newer_schema_is_refused(run) -> None:
    saved = copy.deepcopy(run().config)
    saved["components"]["schema"] = 99
    with pytest.raises(UserError, match="its schema 99 is newer than 1"):
        run(base=saved)


def test_code_and_a_recipe_beside_it_are_refused(run) -> None:
    saved = copy.deepcopy(run().config)
    with pytest.raises(UserError, match="a saved config is there to start from, and a recipe beside it"):
        run("recipe=plain", base=saved)
    saved["net"]["mixer"]["qk"] = {"_target_": "os.system"}
    with pytest.raises(UserError, match=r"saved config.net.mixer.qk: _target_: 'os.system' names code"):
        run(base=saved)
