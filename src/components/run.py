"""The library from Python: ``train``, ``load``, ``load_recipe``, ``evaluate``. The commands of the same names only print what these return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.compose import compose
from components.errors import UserError


@dataclass(frozen=True)
class Loaded:
    """A trained model: ``model(ids (B, T)) -> logits (B, T, V)``, in eval mode, with its tokenizer and its spelled-out config."""

    model: Any
    tokenizer: Any
    config: dict[str, Any]
    folder: Path | None = None

    def generate(self, text: str = "", *, max_new_tokens: int = 120, seed: int = 0, count: int = 1, on_text: Any = None) -> Any:
        """The continuation of ``text``, ``text`` included; with ``count`` over 1 a list of them. Drawn from a generator of its own."""
        from components.task.generating import generate

        made = generate(
            self.model,
            self.tokenizer,
            self.config,
            text,
            count=count,
            max_new_tokens=max_new_tokens,
            seed=seed,
            on_text=on_text,
        )
        return made if count > 1 else made[0]


@dataclass(frozen=True)
class Recipe:
    """What a recipe composes to, untrained: ``model`` (initialised), ``data`` (a LightningDataModule), ``task`` (the LightningModule)."""

    model: Any
    data: Any
    task: Any
    config: dict[str, Any]


def train(recipe: str | None = None, overrides: list[str] | tuple[str, ...] = (), *, quiet: bool = False) -> Any:
    """Train a recipe; ``resume=``, ``init_from=`` and ``recipe=`` may be among the overrides, as on the command line.

    Returns:
        an object with ``.folder`` and ``.figures``.

    Raises:
        UserError: what cannot be composed or trained.
    """
    from components.task import experiment, resume

    rest, special = resume.split_overrides(list(overrides))
    if "recipe" in special:
        recipe = special["recipe"]
    resumed = None
    if special.get("resume") not in (None, "null"):
        if recipe is not None:
            raise UserError(
                "recipe", "resume= goes on with the run's own config", "leave recipe= out, or take init_from= for a new run"
            )
        if "init_from" in special:
            raise UserError("init_from", "resume= goes on with the run's own weights", "take one of the two")
        resumed = resume.find_resumed(special["resume"], rest, resume.runs_folder(rest))
    composed = compose(recipe, rest, base=resumed.config if resumed else None, cwd=Path.cwd())
    init_from = special.get("init_from")
    name = composed.recipe or "custom"
    return experiment.fit(
        experiment.Job(
            composed.config,
            Path(name).stem,
            composed.difference,
            composed.notes,
            resumed,
            init_from if init_from != "null" else None,
            quiet,
        )
    )


def load_recipe(name: str | None = None, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Compose a recipe, prepare its data, and build its model and task, without training."""
    from components.task import building

    composed = compose(name, list(overrides), cwd=Path.cwd())
    config = composed.config
    _, corpus = building.corpus_of(config, building.task_options(config), None)
    task = building.task_of(config, corpus.tokenizer)
    task.place(task.new_model(), "cpu")
    data = building.data_of(task, corpus, task.model.context_length, config["seed"])
    return Recipe(task.model, data, task, config)


def load(run_or_checkpoint: str | Path, overrides: list[str] | tuple[str, ...] = (), *, device: str = "cpu") -> Loaded:
    """A trained model from a run (its best checkpoint by validation) or from a checkpoint file.

    Args:
        run_or_checkpoint: a run's folder, its time or ``recipe/time`` under ``./runs``, or a ``.ckpt`` file.
        overrides: of the stored config, for what does not change the weights: ``decoding=greedy``.
        device: where to put it.
    """
    from components.task import building, checkpoints, resume, run_folder

    folder, file = run_folder.find_run(str(run_or_checkpoint), resume.runs_folder(list(overrides)))
    file = file or run_folder.checkpoint_of(folder, best=True)
    checkpoint = checkpoints.read(file)
    config = compose(None, list(overrides), base=checkpoint["components"]["config"], cwd=Path.cwd()).config
    tokenizer = checkpoints.tokenizer_in(checkpoint)
    task = building.task_of(config, tokenizer)
    model = task.new_model()
    try:
        task.place(model, device)
        model.load_state_dict(checkpoints.weights_in(checkpoint))
    except RuntimeError as e:
        raise UserError(
            str(file),
            f"the weights do not fit the config: {str(e).splitlines()[-1].strip()}",
            "leave overrides of the model out",
        ) from e
    model.eval()
    return Loaded(model, tokenizer, config, folder if (folder / "run.json").exists() else None)


def evaluate(
    run_or_checkpoint: str | Path, overrides: list[str] | tuple[str, ...] = (), *, split: str = "validation"
) -> dict[str, float]:
    """Loss, perplexity and bits per byte of the whole validation or test split of the run's data, or of other data by override."""
    from components.task import evaluation

    return evaluation.evaluate(load(run_or_checkpoint, overrides), split)
