"""Reading checkpoints: plain data. Beside Lightning's state it holds the spelled-out config, the tokenizer and each rank's random state.

A checkpoint holds no pickled code, so ``torch.load(weights_only=True)`` reads it. ``training/saving.py`` writes it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from components.core.errors import UserError
from components.core.files import write_text
from components.core.on_demand import OnDemand, unread
from components.corpus.tokens import Tokens, read_tokenizer
from components.runs import shards
from components.runs.archive import Checkpoint, check_archive, check_shape
from components.runs.run_folder import FOREIGN_PLAN, PLAN
from components.runs.tensor_file import forget
from components.runs.tensor_places import Place, put_together

Wanted = Literal["all", "weights", "shapes"]
MODEL = "model."  # what stands before the names of the model's own weights


def read(file: Path, wanted: Wanted = "all") -> Checkpoint:
    """A checkpoint as plain data, from one file or a folder of shards.

    Args:
        file: the checkpoint.
        wanted: of a folder, what is put together: ``weights`` leaves the optimizer's tensors out, ``shapes`` has all tensors on the meta device. One
            file is mapped, so it costs nothing to have all of it.

    Raises:
        UserError: the file is missing or damaged, or is of another package or a newer release.
    """
    if shards.is_shards(file):
        return join(shards.read_plan(file), wanted)
    if os.path.lexists(file / FOREIGN_PLAN):
        raise UserError(
            str(file),
            f"is a folder of torch.distributed.checkpoint with {FOREIGN_PLAN}, a pickle, which is not loaded: it could run code",
            "save with checkpoint: sharded of the strategy, which writes none",
        )
    if file.is_dir():
        raise UserError(
            str(file), f"is a folder without {PLAN}, so it is no checkpoint", "give best.ckpt or last.ckpt of a run"
        )
    if not file.exists():
        raise UserError(str(file), "no such checkpoint")
    return check_shape(load_plain(file), str(file))


def load_plain(file: Path) -> object:
    """What ``torch.save`` has written into ``file``, mapped: plain data. UserError if it is anything else."""
    check_archive(file)
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as e:  # torch raises RuntimeError, UnpicklingError, EOFError, KeyError for damaged files
        if "weights_only" in str(e).lower() or "unsupported" in str(e).lower():
            raise UserError(
                str(file),
                "holds pickled objects, which are not loaded: they could run code",
                "use a checkpoint of this package",
            ) from e
        raise UserError(
            str(file), f"cannot be read as a checkpoint ({type(e).__name__}: {(str(e).splitlines() or [''])[0]})"
        ) from e


def rest_of(plan: shards.Plan) -> dict[str, object]:
    """What a folder of shards holds beside the tensors of its parts. UserError if it is no mapping."""
    held = load_plain(plan.folder / shards.REST)
    if not isinstance(held, dict):
        raise UserError(str(plan.folder / shards.REST), "is damaged: it holds no mapping", "use another checkpoint of the run")
    return held


def join(plan: shards.Plan, wanted: Wanted = "all", room: Path | None = None) -> Checkpoint:
    """The checkpoint in a folder of shards.

    Args:
        plan: of the folder.
        wanted: as in ``read``.
        room: a folder with room for files, in which tensors are put together instead of in memory.

    Raises:
        UserError: a part is damaged, or the whole is no checkpoint.
    """

    def tensors() -> Iterator[tuple[Place, Tensor]]:
        for i, stored in enumerate(plan.tensors):
            if wanted == "weights" and stored.places[0][0] != "state_dict":
                continue
            if wanted == "shapes":
                tensor = torch.empty(stored.shape, dtype=stored.dtype, device="meta")
            else:
                tensor = plan.tensor(stored, None if room is None else room / str(i))
            yield from ((place, tensor) for place in stored.places)

    return check_shape(put_together(rest_of(plan), tensors(), str(plan.folder)), str(plan.folder))


def tokenizer_files(tokenizer: Tokens) -> dict[str, str]:
    """What ``save`` writes, as {name: text}. A checkpoint keeps it, so that it can be moved without its folder."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder) / "tokenizer.json")
        return {file.name: file.read_text(encoding="utf8") for file in sorted(Path(folder).iterdir())}


def tokenizer_in(checkpoint: Checkpoint, file: Path | str = "") -> Tokens:
    """The tokenizer in a checkpoint; ``file`` is the checkpoint's, for messages.

    Raises:
        UserError: it cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, text in checkpoint["components"]["tokenizer"].items():
            write_text(Path(folder) / name, text)
        try:
            return read_tokenizer(Path(folder) / "tokenizer.json")
        except UserError as e:  # the temporary folder would mean nothing to the reader
            where = ": ".join(filter(None, (str(file), Path(e.where).name)))
            raise UserError(where, e.what.replace(f"{folder}{os.sep}", ""), e.instead) from e


def open_weights(file: Path) -> tuple[Checkpoint, OnDemand]:
    """(a checkpoint as plain data, the model's own state dict): its weights are mapped, and the pages of each are let go when the next is read.

    Raises:
        UserError: as ``read`` does; a damaged part of a folder of shards is found when its weight is read.
    """
    last: list[Tensor] = []

    def mapped(tensor: Tensor) -> Tensor:
        while last:
            forget(last.pop())
        last.append(tensor)
        return tensor

    if not shards.is_shards(file):
        checkpoint = read(file, "weights")
        held = weights_in(checkpoint)
        return checkpoint, OnDemand({n: unread(t) for n, t in held.items()}, lambda name: mapped(held[name]))
    plan = shards.read_plan(file)
    stored = {str(place[1]): one for one in plan.tensors for place in one.places if place[0] == "state_dict"}

    def put_together(name: str) -> Tensor:
        one = stored[f"{MODEL}{name}"]
        return mapped(plan.tensor(one)) if one.in_one_piece else plan.tensor(one)

    checkpoint = join(plan, "shapes")
    return checkpoint, OnDemand(weights_in(checkpoint), put_together)


def weights_in(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The model's own state dict."""
    return {n.removeprefix(MODEL): v for n, v in checkpoint["state_dict"].items() if n.startswith(MODEL)}
