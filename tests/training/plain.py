"""A task and its data as ``components.load_recipe`` gives them, of a config, and a Trainer of Lightning's own that says nothing."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import Trainer

from components.runs import preparing
from components.training import building


def task_and_data(config: dict[str, Any]) -> tuple[Any, Any]:
    _, corpus = preparing.corpus_of(config, preparing.task_options(config), None)
    task = preparing.task_of(config, corpus.tokenizer)
    task.place(task.new_model(), "cpu")
    return task, building.data_of(task, corpus, task.model.context_length, config["seed"])


def trainer(folder: Path, **options: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "enable_checkpointing": False}
    return Trainer(**{"accelerator": "cpu", "devices": 1, "default_root_dir": str(folder), **quiet, **options})


@contextmanager
def hushed() -> Iterator[None]:
    """Without what Lightning tells of loaders, loggers and the like."""
    loggers = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    levels = [one.level for one in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in loggers:
            one.setLevel(logging.ERROR)
        yield
    for one, level in zip(loggers, levels):
        one.setLevel(level)
