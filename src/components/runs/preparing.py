"""What a config needs before a trainer exists: its corpus, tokenizer, task and device."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from components.core import registry, terminal
from components.core.bar import Bar
from components.core.cache_file import cache_folder
from components.core.config_types import Config, part_name
from components.core.contracts import NeedsModel
from components.core.errors import UserError
from components.core.makers import make, part_values
from components.core.resources import recipe_commands, recipe_files
from components.corpus.corpus import Source
from components.corpus.example import Example
from components.corpus.example_files import Chained
from components.corpus.examples import ExampleSource
from components.corpus.tokens import Tokens
from components.runs import checkpoints, run_folder
from components.runs.task_module import AnyCorpus, Rows, TaskModule


def corpus_of(
    config: Config,
    options: Config,
    bar: Bar | None,
    tokenizer: Tokens | None = None,
    going_on: Path | None = None,
    begin: Callable[[], None] | None = None,
) -> tuple[Source | ExampleSource, AnyCorpus]:
    """(data part, prepared corpus) of a config; ``options`` are the task's, ``tokenizer`` is one that was trained before.

    ``going_on``: the checkpoint of a run that goes on, which holds its tokenizer. ``begin`` is called when the work begins; a mistake that is
    found before is printed alone.
    """
    source = make(config["data"], "data")
    given = TrainedTokenizer(tokenizer) if tokenizer is not None else tokenizer_of(config, going_on)
    cache = Path((config.get("paths") or {}).get("cache") or cache_folder() / "corpus").expanduser()
    task = registry.find("task", part_name(config["task"]))

    def progress(what: str, done: int, total: int | None) -> None:
        if begin is not None:
            begin()
        if bar is not None:
            bar.task(what, done, total)

    with of_data(config):
        return source, task.prepare(source, given, options, cache, progress)


@contextmanager
def of_data(config: Config) -> Iterator[None]:
    """Errors about the data of a config name the file, even if they are raised by whoever reads the rows."""
    path = str(config["data"].get("path") or "")
    try:
        yield
    except UserError as e:
        if not path or os.path.basename(path.rstrip("/")) in str(e) or not e.where.startswith(("data", "model.", "tokenizer")):
            raise
        raise UserError(f"{e.where} ({path})", e.what, e.instead) from e


def tokenizer_of(config: Config, going_on: Path | None = None) -> Any:
    """The tokenizer part of a config. One that takes a run's tokenizer gets it.

    Raises:
        UserError: no run is named, or it does not exist.
    """
    part = make(config["tokenizer"], "tokenizer")
    if isinstance(part, NeedsModel):
        name = going_on or part.run or config.get("init_from")
        if name is None:
            raise UserError("tokenizer.run", "no run is named", how_to_name_one(str(config.get("recipe") or "")))
        runs = runs_of(config)
        if not Path(name).exists():  # a run's time, or recipe/time, which was made a path where it was typed
            name = os.path.relpath(name)
        folder, file = run_folder.find_run(str(name), runs)
        file = file or run_folder.checkpoint_of(folder, best=True)
        part.attach(checkpoints.tokenizer_in(checkpoints.read(file, "shapes"), file))
    return part


def how_to_name_one(recipe: str) -> str:
    """How to name a run: the commands of the recipe's own first lines, if it has some."""
    _, file = recipe_files().get(recipe, ("", None))
    first, *then = recipe_commands(file) if file else [""]
    goes_on = next((c for c in then if c.endswith("=RUN")), None)
    if not goes_on:
        return "give init_from=RUN, or from scratch with its tokens tokenizer.run=RUN"
    return f"first {first}, then {goes_on} (RUN: the folder that it prints)"  # short, since a line that is cut off cannot be copied


class TrainedTokenizer:
    """A trained tokenizer in the form that ``prepare`` takes."""

    def __init__(self, tokenizer: Tokens) -> None:
        self.save = tokenizer.save
        self._files = checkpoints.tokenizer_files(tokenizer)

    def train(self, texts: Iterable[str]) -> None:
        """Does nothing: it is trained."""

    def fingerprint(self) -> str:
        return hashlib.blake2b(repr(sorted(self._files.items())).encode(), digest_size=16).hexdigest()


def task_of(config: Config, tokenizer: Tokens) -> TaskModule:
    """The LightningModule of a config."""
    return make(config["task"], "task", config=config, tokenizer=tokenizer)


def task_options(config: Config) -> Config:
    """All options of the node ``task``, defaults included."""
    return part_values("task", config["task"])


def device_of(name: str) -> torch.device:
    """The device. UserError, with those that this machine has, if it is none of them."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as e:  # torch asserts where it was built without CUDA
        # torch's list of what a device may be called is long, and holds what nobody here has
        why = "" if "device type" in str(e) else f" ({str(e).splitlines()[0]})"
        here = [f"cuda:{i}" for i in range(torch.cuda.device_count())] + ["mps"] * torch.backends.mps.is_available()
        raise UserError("device", f"{name!r} is not here{why}", f"use {' or '.join(['cpu', *here])}") from None
    return device


def print_out(text: str) -> None:
    terminal.tell(text)


def print_err(text: str) -> None:
    terminal.complain(text)


def no_print(text: str) -> None:
    del text


def examples_of(*blocks: Rows | None) -> Sequence[Example]:
    """The examples of rows, in order. Packed text has none."""
    return Chained([one.examples for one in blocks if one is not None])


def runs_of(config: Config) -> Path:
    return Path((config.get("paths") or {}).get("runs") or "runs").expanduser()
