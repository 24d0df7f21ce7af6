"""What a config needs before there is a trainer: its corpus, its tokenizer, its task, its device."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from components.core import registry, terminal
from components.core.bar import Bar
from components.core.cache_file import cache_folder
from components.core.errors import UserError
from components.core.makers import make, task_values
from components.core.resources import recipe_commands, recipe_files
from components.corpus.example_files import Chained
from components.runs import checkpoints, run_folder


def corpus_of(
    config: dict[str, Any],
    options: dict[str, Any],
    bar: Bar | None,
    tokenizer: Any = None,
    going_on: Path | None = None,
    begin: Callable[[], None] | None = None,
) -> tuple[Any, Any]:
    """(data part, prepared corpus) of a config; ``options`` are the task's, ``tokenizer`` one that is trained already.

    ``going_on``: the checkpoint of a run that goes on, which has its tokenizer. ``begin`` is called when the work begins: until then a mistake
    is said alone.
    """
    source = make(config["data"], "data")
    given = Fixed(tokenizer) if tokenizer is not None else tokenizer_of(config, going_on)
    cache = Path((config.get("paths") or {}).get("cache") or cache_folder() / "corpus").expanduser()
    task = registry.find("task", config["task"].get("preset") or config["task"]["name"])

    def progress(what: str, done: int, total: int | None) -> None:
        if begin is not None:
            begin()
        if bar is not None:
            bar.task(what, done, total)

    with of_data(config):
        return source, task.prepare(source, given, options, cache, progress)


@contextmanager
def of_data(config: dict[str, Any]) -> Iterator[None]:
    """What is said about the data of a config names their file, also where it is about all of them and comes from whoever reads the rows."""
    path = str(config["data"].get("path") or "")
    try:
        yield
    except UserError as e:
        if not path or os.path.basename(path.rstrip("/")) in str(e) or not e.where.startswith(("data", "model.", "tokenizer")):
            raise
        raise UserError(f"{e.where} ({path})", e.what, e.instead) from e


def tokenizer_of(config: dict[str, Any], going_on: Path | None = None) -> Any:
    """The part that a config names; one that wants a run's tokenizer gets it.

    Raises:
        UserError: no run is named, or there is none.
    """
    part = make(config["tokenizer"], "tokenizer")
    if getattr(part, "wants", None) == "run":
        name = going_on or part.run or config.get("init_from")
        if name is None:
            raise UserError("tokenizer.run", "no run is named", how_to_name_one(str(config.get("recipe") or "")))
        runs = runs_of(config)
        if not Path(name).exists():  # the time of a run, or recipe/time, made a path where it was typed
            name = os.path.relpath(name)
        folder, file = run_folder.find_run(str(name), runs)
        file = file or run_folder.checkpoint_of(folder, best=True)
        part.take(checkpoints.tokenizer_in(checkpoints.read(file), file))
    return part


def how_to_name_one(recipe: str) -> str:
    """The commands that lead there, where the recipe's own first lines have them."""
    _, file = recipe_files().get(recipe, ("", None))
    first, *then = recipe_commands(file) if file else [""]
    goes_on = next((c for c in then if c.endswith("=RUN")), None)
    if not goes_on:
        return "give init_from=RUN, or from scratch with its tokens tokenizer.run=RUN"
    return f"first {first}, then {goes_on} (RUN: the folder that it prints)"  # short: a line that is cut cannot be copied


class Fixed:
    """A tokenizer that is trained already, as ``prepare`` wants one."""

    def __init__(self, tokenizer: Any) -> None:
        self.save = tokenizer.save
        self._files = checkpoints.tokenizer_files(tokenizer)

    def train(self, texts: Any) -> None:
        """There is nothing left to learn."""

    def fingerprint(self) -> str:
        return hashlib.blake2b(repr(sorted(self._files.items())).encode(), digest_size=16).hexdigest()


def task_of(config: dict[str, Any], tokenizer: Any) -> Any:
    """The LightningModule of a config."""
    return make(config["task"], "task", config=config, tokenizer=tokenizer)


def task_options(config: dict[str, Any]) -> dict[str, Any]:
    """All options of the node ``task``, defaults included."""
    return task_values(config["task"])


def device_of(name: str) -> torch.device:
    """UserError where there is no such device."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as e:  # torch asserts where it was built without CUDA
        raise UserError("device", f"{name!r} is not here ({str(e).splitlines()[0]})", "use cpu, cuda, cuda:1 or mps") from None
    return device


def aloud(text: str) -> None:
    terminal.tell(text)


def aside(text: str) -> None:
    terminal.complain(text)


def silent(text: str) -> None:
    del text


def examples_of(*blocks: Any) -> Sequence[Any]:
    """The examples of rows, in their order; none of packed text."""
    return Chained([one.examples for one in blocks if hasattr(one, "examples")])


def runs_of(config: dict[str, Any]) -> Path:
    return Path((config.get("paths") or {}).get("runs") or "runs").expanduser()
