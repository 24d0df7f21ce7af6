"""Groups that are no parts: files, recipes' values on top, the command line's overrides, and the user's own ./conf."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.core import registry
from components.core.errors import UserError


def test_a_group_starts_from_its_file_and_recipes_stay_on_top(run) -> None:
    assert run("trainer=default", recipe="child").config["trainer"] == {
        "max_steps": 7,
        "precision": "32-true",
        "max_time": None,
    }
    assert run("logger=wandb").config["logger"] == {"name": "wandb", "project": "x"}


def test_any_argument_of_lightnings_trainer_needs_no_plus(run) -> None:
    config = run(
        "trainer.gradient_clip_val=0.5", "trainer.max_tokens=1000", "+trainer.profiler=simple", "~trainer.max_time"
    ).config
    assert config["trainer"] == {
        "max_steps": 100,
        "precision": "32-true",
        "gradient_clip_val": 0.5,
        "max_tokens": 1000,
        "profiler": "simple",
    }
    assert {"max_steps", "strategy", "max_tokens"} <= set(registry.entry("trainer", "lightning").signature.options)


def test_hydras_signs(run) -> None:
    assert run("+paths.extra=x").config["paths"]["extra"] == "x"
    assert run("++paths.runs=y").config["paths"]["runs"] == "y"
    assert run("~paths.cache").config["paths"] == {"runs": "runs"}
    assert run("trainer={max_steps: 3}").config["trainer"]["max_steps"] == 3


def test_interpolations_resolve(run, world) -> None:
    (world / "recipes").mkdir()
    (world / "recipes/mine.yaml").write_text("# Mine.\npaths: {runs: 'out/${seed}'}\nseed: 4\n")
    assert run(recipe="mine").config["paths"]["runs"] == "out/4"


def test_the_users_own_files_go_before_the_shipped(run, world) -> None:
    for name, text in {"fast": "max_steps: 1\n", "slow": "defaults: [default, _self_]\nmax_steps: 9\n"}.items():
        file = world / "conf/trainer" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    composed = run("trainer=fast")
    assert composed.config["trainer"] == {"max_steps": 1}
    assert composed.notes == ["trainer=fast: your own conf/trainer/fast.yaml is used, not the shipped one"]
    assert run("trainer=slow").config["trainer"] == {"max_steps": 9, "precision": "32-true", "max_time": None}


def test_the_difference_names_values_of_the_run_too(run) -> None:
    assert run("seed=5", "trainer=fast", "logger=wandb").difference == [
        "seed: 0 -> 5",
        "trainer.precision: 32-true -> bf16-mixed",
        "logger: csv -> wandb",
        "logger.project: x",
    ]


def own(world: Path, name: str, text: str) -> None:
    file = world / "conf" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_an_empty_defaults_list_is_none(run, world) -> None:
    own(world, "trainer/mine", "defaults:\nmax_steps: 2\n")
    assert run("trainer=mine").config["trainer"] == {"max_steps": 2}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "precision: 16\nmax_step: 5\n",
            "conf/trainer/mine.yaml:2: trainer.max_step: the trainer has no argument 'max_step'; did",
        ),
        ("defaults: 5\n", "conf/trainer/mine.yaml:1: defaults: 5 is no list"),
        ("defaults: [{a: b}]\n", "trainer: {a: b} is no choice of trainer"),
        ("callbacks._target_: os.system\n", "names code, and a config is data"),
    ],
)
def test_the_users_own_files_are_checked(run, world, text, says) -> None:
    own(world, "trainer/mine", text)
    with pytest.raises(UserError) as e:
        run("trainer=mine")
    assert says in str(e.value)


def test_a_users_own_train_yaml_is_not_ignored(run, world) -> None:
    saved = run("seed=3").config
    own(world, "train", "seed: 5\n")
    with pytest.raises(UserError, match=r"conf/train\.yaml: is not read: .*; say it in recipes/<name>\.yaml"):
        run()
    assert run(base=saved).config["seed"] == 3, "a saved config does not start from it"


@pytest.mark.parametrize(
    "typed",
    ["logger._target_=os.system", "+logger._target_=os.system", "net._target_.x=1", "net.mixer._target_=x", "_target_=x"],
)
def test_no_override_names_code(run, typed) -> None:
    with pytest.raises(UserError, match="names code, and a config is data"):
        run(typed)


def test_a_line_of_the_difference_is_one_line(run) -> None:
    composed = run('+logger.note="a\nb\r\x1b[2K"', "logger=wandb", "net.mixer=latent", recipe="parent")
    assert composed.config["logger"]["note"] == "a\nb\r\x1b[2K"
    assert composed.difference[-1] == r"logger.note: a\nb\r\x1b[2K"
    assert all(line.isprintable() for line in [*composed.difference, *composed.notes])


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (
            "+trainer.max_steps=4",
            "trainer.max_steps: there is a value already, and + adds what is not there; write trainer.max_steps=",
        ),
        ("+seed=5", "seed: there is a value already"),
        ("paths.runs.x=3", "paths.runs.x: paths.runs is a value: nothing stands below it"),
    ],
)
def test_what_cannot_be_put_there(run, typed, says) -> None:
    with pytest.raises(UserError) as e:
        run(typed)
    assert says in str(e.value)


def test_a_mapping_is_merged_and_what_is_null_becomes_one(run) -> None:
    typed = ["trainer.max_time={hours: 1}", "trainer.max_time={minutes: 2}"]
    assert run(*typed).config["trainer"]["max_time"] == {"hours": 1, "minutes": 2}
    assert run("trainer.max_time.hours=3").config["trainer"]["max_time"] == {"hours": 3}
    assert run("logger.note=${seed}", "seed=4").config["logger"] == {"name": "csv", "note": 4}


def test_another_part_comes_without_the_options_of_the_one_before(run) -> None:
    strategies = "{name: hsdp, shard_size: 2}", "{asynchronous: true}", "{name: fsdp2_tp, tensor_size: 4}"
    one, two, three = (run(*(f"trainer.strategy={s}" for s in strategies[:n])).config["trainer"]["strategy"] for n in (1, 2, 3))
    assert one == {"name": "hsdp", "shard_size": 2}
    assert two == {**one, "asynchronous": True}
    assert three == {"name": "fsdp2_tp", "tensor_size": 4}


def test_a_registered_logger_needs_no_file(run) -> None:
    assert run("logger=tensorboard").config["logger"] == {"name": "tensorboard"}
    with pytest.raises(UserError, match=r"logger: unknown logger 'tensorbord'; did you mean 'tensorboard'"):
        run("logger=tensorbord")
