"""What is explained: a run or a recipe. It is built anew, so that the options of every part are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn

from components.compose.request import Request, recipe_word
from components.core.config_types import Overrides
from components.core.makers import on_part_built
from components.core.resources import recipe_files
from components.core.signature import Signature
from components.corpus.tokens import Tokens

Config = dict[str, Any]  # of a run or a recipe, spelled out; or one node of it: the name of a part and its options


class Untrained(Protocol):
    """What ``components.load_recipe`` returns."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def config(self) -> Config: ...


@runtime_checkable
class Loaded(Untrained, Protocol):
    """What ``components.load`` returns. ``folder``: of a run; None for a folder in Hugging Face's layout."""

    @property
    def tokenizer(self) -> Tokens | None: ...

    @property
    def folder(self) -> Path | None: ...


class HoldsTokenizer(Protocol):
    @property
    def tokenizer(self) -> Tokens | None: ...


@runtime_checkable
class WithTask(Untrained, Protocol):
    """A recipe with its task, which holds the tokenizer."""

    @property
    def task(self) -> HoldsTokenizer: ...


@dataclass(frozen=True)
class Made:
    """How a part was made: its label (a preset's own), its signature, and the options that were given."""

    label: str
    signature: Signature
    options: Config


@dataclass
class Subject:
    """A model with all that is known about it.

    Args:
        name: of the recipe or the run.
        model, tokenizer, config: as they were loaded; a model of numbers may have no tokenizer.
        made: {id of a module: how it was made}.
        folder: of the run.
        trained: how long, in words.
        difference: lines that say what the config changes of its recipe.
        notes: what a reader should know.
    """

    name: str
    model: nn.Module
    tokenizer: Any
    config: Config
    made: dict[int, Made] = field(default_factory=dict)
    folder: Path | None = None
    trained: str = "not trained"
    difference: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def labels(self) -> list[str]:
        """Names of the classes; empty where the data have none."""
        return list(self.tokenizer.labels) if self.tokenizer is not None else []


def subject_of(what: str | Path | Untrained, overrides: Overrides = ()) -> Subject:
    """The subject that ``what`` names.

    Args:
        what: a recipe by name (``gpt_python``, ``recipe=gpt_python``), a run or checkpoint as ``components.load`` takes it, or what
            ``components.load`` and ``components.load_recipe`` return.
        overrides: ``group=part``, ``path.option=value``: of the recipe, or of the run's stored config.

    Raises:
        UserError: neither a recipe nor a run of that name.
    """
    if not isinstance(what, (str, Path)):
        return of_loaded(what)
    name = str(what)
    request = Request.of(overrides)
    if recipe_word(name) is not None:
        return of_recipe(Request.of([name]).recipe or "", request)
    if name in recipe_files() and not Path(name).exists():
        return of_recipe(name, request)
    return of_run(name, request)


def of_recipe(name: str, request: Request) -> Subject:
    """A recipe as it is before training, or with the weights that its ``init_from`` names."""
    from components.runs.loading import open_recipe

    made: dict[int, Made] = {}
    with on_part_built(_into(made)):
        recipe = open_recipe(name, request)
    said = [line for argument in request.arguments for line in argument.words]
    subject = Subject(name, recipe.model, recipe.tokenizer, recipe.config, made, difference=said)
    if recipe.config.get("init_from"):
        subject.trained = f"weights of {recipe.config['init_from']}"
    else:
        subject.notes.append("This is a recipe that was not trained: the numbers are those of its first weights.")
    return subject


def of_run(name: str, request: Request) -> Subject:
    """A run, a checkpoint or a folder in Hugging Face's layout."""
    from components.runs.loading import open_model

    made: dict[int, Made] = {}
    with on_part_built(_into(made)):
        loaded = open_model(name, request)
    return of_loaded(loaded, made, name)


def of_loaded(loaded: Untrained, made: dict[int, Made] | None = None, name: str = "") -> Subject:
    """Of what ``components.load`` or ``load_recipe`` returned. Options are known only where ``made`` tells them."""
    folder, tokenizer = (loaded.folder, loaded.tokenizer) if isinstance(loaded, Loaded) else (None, None)
    if tokenizer is None and isinstance(loaded, WithTask):
        tokenizer = loaded.task.tokenizer
    recipe = loaded.config.get("recipe") or "model"
    called = f"{recipe}/{Path(folder).name}" if folder is not None else Path(name).name or str(recipe)
    subject = Subject(called, loaded.model.eval(), tokenizer, loaded.config, made or {}, folder)
    if folder is not None:
        about, summary = _json(Path(folder) / "run.json"), _json(Path(folder) / "summary.json")
        subject.difference = list(about.get("difference", []))
        best = f", the best at step {summary['best_step']:,}" if summary.get("best_step") else ""
        elsewhere = {"imported": "trained elsewhere", "merged": "merged"}.get(str(summary.get("state")), "trained")
        subject.trained = f"{summary['step']:,} steps{best}" if summary.get("step") else elsewhere
    elif not isinstance(loaded, WithTask):  # a folder in Hugging Face's layout; only a recipe has a task
        subject.trained = "trained elsewhere"
    return subject


def _into(made: dict[int, Made]) -> Callable[[object, str, Signature, Config], None]:
    """A listener that keeps how every part is made."""

    def keep(part: object, label: str, signature: Signature, options: Config) -> None:
        made[id(part)] = Made(label, signature, options)

    return keep


def _json(file: Path) -> Config:
    try:
        found = json.loads(file.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
