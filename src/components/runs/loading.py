"""Build a model from its config alone, or load a trained one from a run, a checkpoint or a folder in Hugging Face's layout.

Neither needs a task or Lightning. Generating, scoring and explaining start here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from components.compose.composed import compose_request
from components.compose.request import Request
from components.core.bar import Bar
from components.core.config_types import Config
from components.core.errors import UserError, found_in
from components.core.makers import ScopedMaker, make
from components.core.meta import meta_device, on_meta
from components.core.sockets import name_parts
from components.core.traits import extra_tokens
from components.corpus.tokens import Tokens
from components.runs import archive, checkpoints, importing, init_from, preparing, resume, run_folder
from components.runs.weights import materialise


@dataclass(frozen=True)
class Opened:
    """A model in eval mode with its tokenizer, its spelled-out config and, where it is a run's, its folder."""

    model: Any
    tokenizer: Tokens
    config: Config
    folder: Path | None = None


def vocab_size_of(config: Config, tokenizer: Tokens) -> int:
    """The number of ids of a model: those of the tokenizer and those that the loss adds."""
    return tokenizer.vocab_size + extra_tokens(make(config["loss"], "loss", vocab_size=tokenizer.vocab_size))


def model_of(config: Config, vocab_size: int) -> nn.Module:
    """The model of a config, its adapter applied and its parts named, on the meta device: nothing is allocated."""
    model = on_meta(config, vocab_size)
    with meta_device():
        model = make(ScopedMaker(config.get("adapter") or "none", where="adapter"), "adapter").apply(model)
    name_parts(model)
    return model


def open_model(
    run_or_checkpoint: str | Path, request: Request | None = None, *, device: str = "cpu", command: str = ""
) -> Opened:
    """A trained model. The arguments are those of ``components.load``; ``request`` holds the overrides.

    Raises:
        UserError: it does not exist or cannot be read, or an override changes the shape of a weight.
    """
    request = request or Request()
    if request.given:
        raise UserError(f"{request.given[0]}=", "a trained model is loaded as it is", "leave it out")
    place = preparing.device_of(device)
    path = Path(run_or_checkpoint).expanduser()
    if importing.is_foreign(path):
        folder, file, foreign = path, path, importing.read(path)
        stored, tokenizer, weights = foreign.config, foreign.tokenizer, foreign.weights
    else:
        folder, file = run_folder.find_run(str(run_or_checkpoint), resume.runs_folder(request))
        file = file or run_folder.checkpoint_of(folder, best=True)
        checkpoint, weights = checkpoints.open_weights(file)
        stored, tokenizer = checkpoint["components"]["config"], checkpoints.tokenizer_in(checkpoint, file)
    config = compose_request(request, base=stored, cwd=Path.cwd(), command=command, source=file).config
    with found_in(file):
        model = model_of(config, vocab_size_of(config, tokenizer))
        materialise(model, place, config["seed"], draw=False)
    archive.load_into(model, weights, str(file))
    return Opened(model.eval(), tokenizer, config, folder if (folder / "run.json").exists() else None)


def open_recipe(name: str, request: Request) -> Opened:
    """The untrained model of a recipe, or one with the weights of ``init_from=``, and the tokenizer of its data.

    Raises:
        UserError: it cannot be composed, its model does not fit its data, or the weights of ``init_from=`` do not fit.
    """
    if other := [key for key in request.given if key != "init_from"]:
        raise UserError(f"{other[0]}=", f"the recipe {name} is looked at as it is", "leave it out")
    config = compose_request(request.of_recipe(name), cwd=Path.cwd()).config
    found = init_from.start_from(config["init_from"], preparing.runs_of(config)) if config.get("init_from") else None
    _, corpus = preparing.corpus_of(config, preparing.task_options(config), Bar(sys.stderr))
    model = model_of(config, vocab_size_of(config, corpus.tokenizer))
    preparing.task_of(config, corpus.tokenizer).check(model, corpus)  # as many scores as the data have labels
    materialise(model, "cpu", config["seed"])
    if found is not None:
        config["init_from"] = found.origin
        init_from.begin_from(corpus.tokenizer, model, found, preparing.print_err).load(model)
    return Opened(model.eval(), corpus.tokenizer, config)
