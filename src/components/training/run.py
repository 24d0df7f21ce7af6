"""The library from Python: ``train``, ``load``, ``load_recipe``, ``evaluate``. The commands of the same names only print what these return."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from components.compose.composed import Composed, compose_request
from components.compose.request import Request
from components.core import terminal
from components.core.config_types import Config, Overrides
from components.core.errors import UserError
from components.core.sweeping import unswept
from components.generation.loaded import Loaded as Loaded

if TYPE_CHECKING:
    from components.core.contracts import Model
    from components.evaluating.evaluation import Measured
    from components.evaluating.harness import Results
    from components.training.data_module import PackedDataModule
    from components.training.experiment import Result
    from components.training.task._training import Training


@dataclass(frozen=True, repr=False)
class Recipe:
    """What a recipe composes to, untrained: ``model`` (initialised), ``data`` (a LightningDataModule), ``task`` (the LightningModule)."""

    model: Model
    data: PackedDataModule
    task: Training
    config: Config

    def __repr__(self) -> str:
        return f"<Recipe {self.config.get('recipe') or 'custom'}, not trained: .model, .data, .task, .config>"

    def _repr_html_(self) -> str:
        from components.core import html, model_tree

        title = (
            f"{self.config.get('recipe') or 'custom'}, not trained, {model_tree.short(model_tree.count(self.model))} parameters"
        )
        return html.table(model_tree.table(model_tree.tree(self.model)), ("", "part", "parameters"), title=title)


def train(recipe: str | None = None, overrides: Overrides = (), *, quiet: bool = False) -> Result:
    """Train a recipe; ``resume``, ``init_from`` and ``recipe`` may be among the overrides, as on the command line.

    Args:
        recipe: its name, or a YAML file's path.
        overrides: ``["model/norm=layer", "trainer.max_steps=20"]``, or values as they are: ``{"model": {"norm": "layer"}, "trainer": {"max_steps": 20}}``.
        quiet: print nothing.

    Returns:
        an object with ``.folder`` and ``.figures``.

    Raises:
        UserError: what cannot be composed or trained.
    """
    with unswept():
        from components.runs import preparing, resume, run_files
        from components.training import experiment, ranks, slurm

    if ranks.launched():
        ranks.follow(experiment.fit)
    request = Request.of(overrides, recipe)
    rest, resumed = request.without("resume"), None
    if name := request.resume:
        if "recipe" in request.given:
            raise UserError(
                "recipe", "resume= goes on with the run's own config", "leave recipe= out, or take init_from= for a new run"
            )
        if "init_from" in request.given:
            raise UserError("init_from", "resume= goes on with the run's own weights", "take one of the two")
        resumed = resume.find_resumed(name, rest.arguments, resume.runs_folder(rest))
        composed = compose_request(rest, base=resumed.config, cwd=Path.cwd(), source=resumed.folder / "config.yaml")
    else:
        composed = _compose_anew(rest)
        begun = slurm.begun_here(preparing.runs_of(composed.config))
        if begun is not None and begun[1]:  # a command of a job that was queued again
            terminal.tell(f"done before this job was queued again: {begun[0]}")
            return experiment.Result(begun[0], run_files.read_summary(begun[0]))
        if begun is not None:
            resumed = resume.find_resumed(str(begun[0]), [], begun[0].parent)
            composed = compose_request(Request(), base=resumed.config, cwd=Path.cwd(), source=resumed.folder / "config.yaml")
    said, start = (composed.difference, composed.notes), None if resumed else composed.config.get("init_from")
    return experiment.fit(experiment.Job(composed.config, composed.recipe or "custom", *said, resumed, start, quiet))


def _compose_anew(request: Request) -> Composed:
    """A new run's config. ``init_from`` is a value of it, which a recipe may have too; ``resume`` is none."""
    from components.training.preflight import check_settings

    composed = compose_request(request, cwd=Path.cwd())
    if composed.config.get("resume") is not None:
        raise UserError("resume", f"recipe {composed.recipe} cannot go on with a run", "write resume= on the command line")
    with composed.told():
        check_settings(composed.config)
    return composed


def load_recipe(name: str | None = None, overrides: Overrides = ()) -> Recipe:
    """Compose a recipe, prepare its data, and build its model and task, without training; ``init_from`` gives it other weights.

    Args:
        name: the recipe's name, or a YAML file's path.
        overrides: as ``train`` takes them.
    """
    from components.core import bar
    from components.runs import init_from, preparing
    from components.training import building, foreseen, init_task

    request = Request.of(overrides, name)
    if request.resume:
        raise UserError("resume", "a recipe is built anew", "components.load(run), or components.train with resume=")
    composed = _compose_anew(request.without("resume"))
    config = composed.config
    found = init_from.start_from(config["init_from"], preparing.runs_of(config)) if config.get("init_from") else None
    early = foreseen.foresee(config)
    _, corpus = preparing.corpus_of(config, preparing.task_options(config), bar.Bar(sys.stderr))
    task = preparing.task_of(config, corpus.tokenizer)
    model = task.new_model() if early is None else early.of(task)
    if found is not None:
        config["init_from"] = found.origin
        init_task.begin_task(task, model, found, preparing.print_err)
    task.place(model, "cpu")
    building.settle_rows(task, task.model.context_length)
    data = building.data_of(task, corpus, task.model.context_length, config["seed"])
    return Recipe(task.model, data, cast("Training", task), config)


def load(run_or_checkpoint: str | Path, overrides: Overrides = (), *, device: str = "cpu", command: str = "") -> Loaded:
    """A trained model from a run (its best checkpoint by validation), from a checkpoint file, or from a folder in Hugging Face's layout.

    Args:
        run_or_checkpoint: a run's folder, its time or ``recipe/time`` under ``./runs``, a ``.ckpt`` file, or a folder with config.json and safetensors.
        overrides: of the stored config, for what does not change the weights: ``["decoding=greedy"]``, ``{"decoding": "greedy"}``.
        device: where to put it.
        command: one whose own groups the overrides may name: ``evaluate``.
    """
    from components.runs.loading import open_model

    opened = open_model(run_or_checkpoint, Request.of(overrides), device=device, command=command)
    return Loaded(opened.model, opened.tokenizer, opened.config, opened.folder)


def evaluate(
    run_or_checkpoint: str | Path,
    overrides: Overrides = (),
    *,
    evaluations: Sequence[str | Mapping[str, object] | Callable[..., object]] = (),
    split: str = "validation",
    device: str = "cpu",
) -> Measured:
    """Loss, perplexity, bits per byte of a split of the data, and ``evaluations``: {name: {figure: {value, error, count, chance}}} where asked for.

    With tasks of lm-eval (``harness=[arc_easy]``) ``harness`` has their figures in the same form. They bring their own data: alone they are all that is
    measured, and of a run they are kept in its folder and told to its tracker.

    Args:
        run_or_checkpoint: as ``load`` takes it.
        overrides: of the stored config, as ``train`` takes them: ``{"data": {"name": "text", "path": file}}``, ``["evaluation=[cloze]"]``.
        evaluations: names, nodes, classes or partials, after those of the overrides.
        split: train, validation or test, split as in training; ``all``: every document.
        device: where to compute.

    Returns:
        a dictionary, which shows itself as a table.
    """
    from components.core import bar
    from components.evaluating import evaluation, harness

    request = Request.of(overrides)
    asked = {argument.path[0] for argument in request.arguments}
    if harness.WHERE in asked:
        harness.need_lm_eval()  # before a large model is read
    loaded = load(run_or_checkpoint, overrides, device=device, command="evaluate")
    tasks = harness.Harness.of(loaded.config)
    figures = evaluation.Measured()
    if tasks is None or evaluations or asked & {"data", "evaluation"}:
        evaluation.need_data(loaded, run_or_checkpoint, request)
        figures.update(evaluation.evaluate(loaded, split, bar=bar.Bar(sys.stderr), evaluations=evaluations))
    if tasks is not None:
        found = tasks.measure(loaded, bar.Bar(sys.stderr))
        figures["harness"] = found.figures()
        if loaded.folder is not None:
            _keep(found, loaded.folder, run_or_checkpoint)
    return figures


def _keep(found: Results, folder: Path, run_or_checkpoint: str | Path) -> None:
    """Write what lm-eval gave into the run's folder, and tell the run's tracker. Where neither can be written, the figures are still there."""
    from components.runs import resume, run_files, run_folder

    _, file = run_folder.find_run(str(run_or_checkpoint), resume.runs_folder(Request()))
    try:
        kept = found.write(folder, file or run_folder.checkpoint_of(folder, best=True))
    except UserError as e:
        return terminal.complain(f"the results are not kept: {e}")
    terminal.complain(f"results: {kept}")
    if run_files.has_tracker(folder):
        from components.training.loggers import tell_figures

        tell_figures(folder, found.flat(), terminal.complain)
