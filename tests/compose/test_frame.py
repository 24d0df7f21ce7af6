"""Groups that are no parts: files, recipes' values on top, the command line's overrides, and the user's own ./conf."""

from __future__ import annotations

from components.compose.trainer_keys import trainer_keys


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
    assert {"max_steps", "strategy", "max_tokens"} <= set(trainer_keys())


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
