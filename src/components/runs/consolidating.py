"""One ordinary file of a folder of shards, or the weights of any checkpoint as safetensors. It takes the memory of a tensor, not of the model."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from components.compose.request import Request
from components.core import files
from components.core.errors import UserError
from components.core.number_types import DTYPES
from components.runs import checkpoints, resume, run_folder, shards, tensor_file

SUFFIXES = (".ckpt", ".safetensors")


@dataclass(frozen=True)
class Consolidated:
    """What was written.

    Args:
        file: the new file.
        source: the checkpoint that it is made of.
        step: of the run.
        tensors: how many there are in the file.
        bytes: of the file.
    """

    file: Path
    source: Path
    step: int
    tensors: int
    bytes: int


def consolidate(run: str, to: Path | None = None) -> Consolidated:
    """Write one file of a checkpoint, or of a run's best one.

    Args:
        run: a run or a checkpoint.
        to: the file: ``.ckpt`` for a checkpoint that a run can go on from, ``.safetensors`` for the model's weights alone; None: a ``.ckpt`` beside the folder.

    Raises:
        UserError: the checkpoint is damaged or one file already, or ``to`` is there, has another ending or cannot be written.
    """
    folder, source = run_folder.find_run(run, resume.runs_folder(Request.of([])))
    source = source or run_folder.checkpoint_of(folder, best=True)
    to = source.with_name(f"{source.stem}.whole.ckpt") if to is None else to.expanduser()
    if to.suffix not in SUFFIXES:
        raise UserError(f"--to {to}", f"ends in {to.suffix or 'nothing'}", f"{to.stem}.ckpt or {to.stem}.safetensors")
    if to.suffix == ".ckpt" and source.is_file():
        raise UserError(str(source), "is one file already", "its weights alone: --to NAME.safetensors")
    if to.exists() or to.is_symlink():
        raise UserError(str(to), "is there already", "name another file with --to")
    step, tensors = (_weights if to.suffix == ".safetensors" else _all)(source, to)
    return Consolidated(to, source, step, tensors, to.stat().st_size)


def _all(source: Path, to: Path) -> tuple[int, int]:
    """(step, tensors) of the checkpoint, which is written as one."""
    plan = shards.read_plan(source)
    room = to.with_name(
        f"{to.name}.room{files.PART}"
    )  # tensors are put together in files: there may be more of them than memory
    files.make_folder(room)
    try:
        held = checkpoints.join(plan, room=room)
        with files.whole(to) as stream:
            torch.save(held, stream)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return held["global_step"], len(plan.tensors)


def _weights(source: Path, to: Path) -> tuple[int, int]:
    """(step, tensors) of the checkpoint, whose weights are written under the model's own names."""
    about = checkpoints.read(source, "shapes")
    plan = shards.read_plan(source) if source.is_dir() else None
    stored = {} if plan is None else {place[1]: one for one in plan.tensors for place in one.places if place[0] == "state_dict"}
    weights = checkpoints.weights_in(about)
    entries = [tensor_file.Entry(name, t.dtype, tuple(t.shape)) for name, t in weights.items()]
    if odd := [e for e in entries if e.dtype not in DTYPES]:
        raise UserError(str(source), f"{odd[0].name} is {odd[0].dtype}, which safetensors do not have", "write a .ckpt")
    values = (weights[e.name] if plan is None else plan.tensor(stored[f"model.{e.name}"]) for e in entries)
    tensor_file.write(to, entries, values)
    return about["global_step"], len(entries)
