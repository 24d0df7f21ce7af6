"""Recipes: parents, the user's own, names and files, and what is wrong in them by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.compose import all_recipes
from components.core.errors import UserError


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / "recipes" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf8")
    return file


def test_a_child_is_its_parent_and_what_it_says(run) -> None:
    config = run(recipe="child").config
    assert config["recipe"] == "child"
    assert config["net"]["width"] == 64
    assert config["net"]["mixer"]["n_heads"] == 2
    assert config["net"]["scale"]["name"] == "mean"
    assert config["trainer"] == {"max_steps": 7, "precision": "bf16-mixed", "max_time": None}
    assert config["seed"] == 3


def test_the_order_of_the_defaults_list_is_the_order_of_the_stations(run, world) -> None:
    write(world, "first", "# First.\nseed: 1\nnet: {width: 1}\n")
    write(world, "mine", "# Mine goes before its parent.\ndefaults: [_self_, first]\nseed: 2\nnet: {width: 2}\n")
    assert run(recipe="mine").config["seed"] == 1
    assert run(recipe="mine").config["net"]["width"] == 1


def test_names_in_folders_and_files_by_path(run, world) -> None:
    file = write(world, "ladder/09_net", "# A rung.\nnet: {width: 9}\n")
    assert run(recipe="ladder/09_net").config["net"]["width"] == 9
    assert run("recipe=ladder/09_net").config["recipe"] == "ladder/09_net"
    assert run("recipe=./recipes/ladder/09_net.yaml").config["net"]["width"] == 9
    assert run(recipe=str(file)).config["recipe"] == "09_net"
    assert all_recipes(world)["ladder/09_net"].sentence == "A rung."


def test_the_users_own_recipe_goes_before_a_shipped_one_and_may_build_on_it(run, world) -> None:
    write(world, "parent", "# Mine.\ndefaults: [parent, _self_]\nnet: {width: 5}\n")
    composed = run(recipe="parent")
    assert composed.config["net"]["width"] == 5
    assert composed.config["net"]["mixer"]["n_heads"] == 8
    assert composed.notes == ["recipe parent: your own recipes/parent.yaml is used, not the shipped one"]


def test_numbers_are_read_as_omegaconf_reads_them(run, world) -> None:
    write(world, "mine", "# Mine.\nnet: {scale: {eps: 1e-3}, mixer: {drop: 1e-1}}\n")
    net = run(recipe="mine").config["net"]
    assert (net["scale"]["eps"], net["mixer"]["drop"]) == (1e-3, 0.1)


def test_paths_are_relative_to_the_recipe(run, world) -> None:
    write(world, "deep/mine", "# Mine.\nsource: {name: file, path: ../book.txt, also: [a.txt, ~/b.txt]}\n")
    source = run(recipe="deep/mine").config["source"]
    assert source["path"] == str(world / "recipes" / "book.txt")
    assert source["also"] == [str(world / "recipes/deep/a.txt"), str(Path.home() / "b.txt")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("net: {width: 1\nseed: 2\n", "recipes/mine.yaml:2: is no valid YAML"),
        ("net:\n\twidth: 1\n", "recipes/mine.yaml:2: is no valid YAML"),
        ("seed: 1\nseed: 2\n", "recipes/mine.yaml:2: is no valid YAML: found duplicate key seed"),
        ("- net\n", "recipes/mine.yaml: holds a list, not a mapping"),
        ("net: {widht: 1}\n", "recipes/mine.yaml:1: net.widht: net/stack has no option 'widht'; did you mean 'width'"),
        ("seed: 1\nnet:\n  mixer:\n    n_heads: two\n", "recipes/mine.yaml:4: net.mixer.n_heads: 'two' is not int >= 1"),
        (
            "net: {width: '${seed}'}\n",
            "recipes/mine.yaml:1: net.width: '${seed}': a part's option holds values, not interpolations",
        ),
        ("nett: {}\n", "recipes/mine.yaml:1: nett: unknown key 'nett'; did you mean 'net'"),
        (
            "trainer: {max_step: 1}\n",
            "recipes/mine.yaml:1: trainer.max_step: the trainer has no argument 'max_step'; did you mean 'max_steps'",
        ),
        (
            "trainer: fast\n",
            "recipes/mine.yaml:1: trainer: trainer is a group of values, not fast; choose a file of it by - override /trainer: <name>",
        ),
        ("net: {_target_: os.system}\n", "recipes/mine.yaml.net: _target_: 'os.system' names code"),
        ("defaults: [mine]\n", "recipes/mine.yaml: builds on itself: recipes/mine.yaml -> recipes/mine.yaml"),
        ("defaults: [parnet]\n", "recipes/mine.yaml: defaults: unknown recipe 'parnet'; did you mean 'parent'"),
        ("defaults: [override /net/mixer: latnet]\n", "net.mixer: unknown mixer 'latnet'; did you mean 'latent'"),
        ("defaults: [override /nett: flat]\n", "recipes/mine.yaml: defaults: there is no group 'nett'; did you mean 'net'"),
        ("defaults: [override /trainer: fats]\n", "trainer: unknown trainer 'fats'; did you mean 'fast'"),
        ("defaults: [5]\n", "recipes/mine.yaml: defaults: 5 is neither a recipe's name nor a choice"),
        ("defaults: parent\n", "recipes/mine.yaml: defaults: is a list"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run, world, text, says) -> None:
    write(world, "mine", text)
    with pytest.raises(UserError) as e:
        run(recipe="mine")
    assert says in str(e.value)
    assert "\n" not in str(e.value)
