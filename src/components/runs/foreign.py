"""A run's folder made of weights that were not trained in it: imported ones, or a mean of other runs. Its checkpoint is of step 0."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from components import __version__
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.files import make_folder, whole, whole_folder
from components.core.on_demand import outline
from components.corpus.tokens import Tokens
from components.runs import archive, checkpoints, random_state, run_folder


@dataclass(frozen=True)
class Foreign:
    """What a folder holds, in our terms. ``source``: what an export needs to write the same again; ``notes``: lines to print."""

    config: Config
    weights: Mapping[str, Tensor]
    tokenizer: Tokens
    source: archive.Source
    notes: list[str]


def free_place(to: Path) -> Path:
    """``to``, if nothing is there: said before the work."""
    to = to.expanduser()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(str(to), "is there already", "name a new folder with --to")
    return to


def keep(foreign: Foreign, to: Path, about: Mapping[str, object], state: str = "imported") -> str:
    """Write ``to``, a run's folder. Returns what to print about it.

    Args:
        foreign: what the run holds.
        to: the folder.
        about: what run.json says about where it is from.
        state: of the run, in summary.json.
    """
    with whole_folder(to) as part:
        write(part, foreign, to, about, state)
    return told(foreign, to)


def told(foreign: Foreign, to: Path) -> str:
    """What to print about a run that is written."""
    held = outline(foreign.weights).values()
    count = sum(t.numel() for t in held)
    dtypes = ", ".join(sorted({str(t.dtype).removeprefix("torch.") for t in held}))
    return "\n".join(
        [
            f"{foreign.source['architecture']}: {len(foreign.weights)} tensors, {count:,} numbers in {dtypes}",
            *foreign.notes,
            f"run: {to}",
        ]
    )


def write(folder: Path, foreign: Foreign, to: Path, about: Mapping[str, object], state: str) -> None:
    """Write the files of a run into ``folder``, which will be ``to``: its checkpoint is of step 0. Other arguments as those of ``keep``."""
    config = {
        **foreign.config,
        "recipe": to.name,
        "tokenizer": {"name": "pretrained", "path": str(to.absolute() / "tokenizer.json")},
    }
    count = sum(t.numel() for t in outline(foreign.weights).values())
    start = {
        "recipe": config["recipe"],
        "init_from": None,
        "began": time.time(),
        "command": sys.argv,
        "schema": archive.SCHEMA,
        "versions": run_folder.versions(),
        **about,
        "source": foreign.source,
        "git": None,
        "parameters": count,
    }
    run_folder.write_start(folder, config, [], start)
    foreign.tokenizer.save(folder / "tokenizer.json")
    ours = {
        "version": __version__,
        "schema": archive.SCHEMA,
        "config": config,
        "tokenizer": checkpoints.tokenizer_files(foreign.tokenizer),
        "random": random_state.of_all_ranks(torch.device("cpu")),
        "source": foreign.source,
    }
    weights = {f"model.{name}": own_memory(tensor) for name, tensor in foreign.weights.items()}
    with whole(make_folder(folder / "checkpoints") / "last.ckpt") as file:
        torch.save({"components": ours, "state_dict": weights, "global_step": 0}, file)
    run_folder.write_json(folder / "summary.json", {"state": state, "step": 0, "parameters": count})


def own_memory(tensor: Tensor) -> Tensor:
    """A copy if the tensor is a view: saving a view saves all of its storage, and its strides."""
    alone = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if alone and tensor.is_contiguous() else tensor.clone(memory_format=torch.contiguous_format)
