"""The library from Python: ``train``, ``load``, ``load_recipe``, ``evaluate``. The commands of the same names only print what these return."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.compose.composed import Composed, compose_request
from components.compose.request import Request
from components.core import terminal
from components.core.errors import UserError


@dataclass(frozen=True)
class Loaded:
    """A trained model: ``model(ids (B, T)) -> logits (B, T, V)``, in eval mode, with its tokenizer and its spelled-out config. Safe from several threads."""

    model: Any
    tokenizer: Any
    config: dict[str, Any]
    folder: Path | None = None

    def generate(
        self,
        text: Any = "",
        *,
        max_new_tokens: int = 120,
        seed: int = 0,
        count: int = 1,
        on_text: Any = None,
        stop: Any = (),
        prefill_chunk: int | None = None,
        target: Any = "",
    ) -> Any:
        """The continuation of ``text``, ``text`` included; with ``count`` over 1 a list of them.

        Of an encoder-decoder: what it writes after it has read ``text``, its source.

        Args:
            text: a prompt, or a list of prompts: then what is returned is a list with an entry for each.
            max_new_tokens: at most.
            seed: of what is drawn; a prompt's texts do not depend on what else is asked for.
            count: texts of each prompt.
            on_text: called with each piece of text as it comes; for one text.
            stop: a string, or several, before which a text ends.
            prefill_chunk: prompts are read in pieces of so many tokens.
            target: what an encoder-decoder's text begins with, for all prompts, or a list with one for each; it is included.
        """
        from components.generation.generating import generate

        made = generate(
            self.model,
            self.tokenizer,
            self.config,
            text,
            count=count,
            max_new_tokens=max_new_tokens,
            seed=seed,
            on_text=on_text,
            stop=[stop] if isinstance(stop, str) else list(stop),
            prefill_chunk=prefill_chunk,
            target=target,
        )
        each = made if count == 1 else [made[i : i + count] for i in range(0, len(made), count)]
        return each[0] if isinstance(text, str) else each

    @property
    def reads_source(self) -> bool:
        """Whether the model is an encoder-decoder, whose prompts are sources."""
        from components.core.traits import reads_source

        return reads_source(self.model)

    def score(self, texts: Any, sources: Any = None) -> Any:
        """How likely the model finds each text: ``log_probability`` and ``tokens``, a list of (text, log-probability). For one text, one.

        Args:
            texts: one, or a list.
            sources: of an encoder-decoder: what it reads before each, likewise one or a list.
        """
        from components.generation.scoring import score

        if isinstance(texts, str):
            return score(self.model, self.tokenizer, [texts], None if sources is None else [sources])[0]
        return score(self.model, self.tokenizer, texts, sources)

    def chat(self, messages: list[dict[str, str]], *, template: str | Path | None = None, **options: Any) -> str:
        """The model's answer to a conversation of ``{"role": ..., "content": ...}``.

        Args:
            messages: roles are system, user and assistant.
            template: a file with a Jinja template; without one the tokenizer's own.
            options: ``max_new_tokens``, ``seed``, ``on_text``, ``prefill_chunk``.
        """
        from components.generation.chat import answer, template_of

        made = template_of(self.tokenizer, template)
        return answer(self.model, self.tokenizer, self.config, messages, made, **options)


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


def load_recipe(name: str | None = None, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Compose a recipe, prepare its data, and build its model and task, without training; ``init_from=`` gives it other weights."""
    from components.core import bar
    from components.runs import init_from, preparing
    from components.training import building, init_task

    request = Request.of(overrides, name)
    if request.resume:
        raise UserError("resume", "a recipe is built anew", "components.load(run), or components.train with resume=")
    composed = _compose_anew(request.without("resume"))
    config = composed.config
    found = init_from.start_from(config["init_from"], preparing.runs_of(config)) if config.get("init_from") else None
    _, corpus = preparing.corpus_of(config, preparing.task_options(config), bar.Bar(sys.stderr))
    task = preparing.task_of(config, corpus.tokenizer)
    model = task.new_model()
    if found is not None:
        config["init_from"] = found.origin
        init_task.begin_task(task, model, found, preparing.print_err)
    task.place(model, "cpu")
    building.settle_rows(task, task.model.context_length)
    data = building.data_of(task, corpus, task.model.context_length, config["seed"])
    return Recipe(task.model, data, task, config)


def load(
    run_or_checkpoint: str | Path, overrides: list[str] | tuple[str, ...] = (), *, device: str = "cpu", command: str = ""
) -> Loaded:
    """A trained model from a run (its best checkpoint by validation), from a checkpoint file, or from a folder in Hugging Face's layout.

    Args:
        run_or_checkpoint: a run's folder, its time or ``recipe/time`` under ``./runs``, a ``.ckpt`` file, or a folder with config.json and safetensors.
        overrides: of the stored config, for what does not change the weights: ``decoding=greedy``.
        device: where to put it.
        command: one whose own groups the overrides may name: ``evaluate``.
    """
    from components.runs.loading import open_model

    opened = open_model(run_or_checkpoint, Request.of(overrides), device=device, command=command)
    return Loaded(opened.model, opened.tokenizer, opened.config, opened.folder)


def evaluate(
    run_or_checkpoint: str | Path,
    overrides: list[str] | tuple[str, ...] = (),
    *,
    evaluations: Any = (),
    split: str = "validation",
    device: str = "cpu",
) -> dict[str, Any]:
    """Loss, perplexity, bits per byte of a split of the data, and ``evaluations``: {name: {figure: {value, error, count, chance}}} where asked for.

    Args:
        run_or_checkpoint: as ``load`` takes it.
        overrides: of the stored config: ``data=text data.path=other.txt``, ``evaluation=[cloze,minimal_pairs]``.
        evaluations: names, nodes, classes or partials, after those of the overrides.
        split: train, validation or test, split as in training; ``all``: every document.
        device: where to compute.
    """
    from components.core import bar
    from components.evaluating import evaluation

    loaded = load(run_or_checkpoint, overrides, device=device, command="evaluate")
    evaluation.need_data(loaded, run_or_checkpoint, overrides)
    return evaluation.evaluate(loaded, split, bar=bar.Bar(sys.stderr), evaluations=evaluations)
