"""Checkpoints: ``last.ckpt`` and ``best.ckpt`` after each validation, always between optimizer steps, readable as plain data.

Besides Lightning's state each holds the spelled-out config, the tokenizer and the random state of every rank; nothing in it is pickled
code, so ``torch.load(weights_only=True)`` reads it.
"""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from components import __version__
from components.adapter._merge import adapter_state_dict
from components.corpus.tokens import read_tokenizer
from components.errors import UserError
from components.task import random_state
from components.task.archive import SCHEMA, check_archive, check_shape
from components.task.averaging import averaged


class Checkpoints(Callback):
    """Save after each validation, and the random state with it.

    Args:
        folder: the run's ``checkpoints/``; the same on all ranks, or None on those that were not told.
        config: spelled out, plain containers.
        tokenizer: its files, {name: text}.
        recorder: knows which validation was the best.
        save: False trains without writing any.
    """

    def __init__(
        self, folder: Path | None, config: dict[str, Any], tokenizer: dict[str, str], recorder: Any, *, save: bool = True
    ) -> None:
        self.folder, self.config, self.tokenizer, self.recorder, self.save = folder, config, tokenizer, recorder, save
        self._random: list[dict[str, torch.Tensor]] | None = None
        self._saved = -1

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["components"] = {
            "version": __version__,
            "schema": SCHEMA,
            "config": self.config,
            "tokenizer": self.tokenizer,
            "random": random_state.of_all_ranks(trainer.strategy.root_device),
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._random = checkpoint["components"]["random"]

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        # here and no earlier: setting up draws random numbers too; on_train_epoch_start is not called in the middle of an epoch
        if self._random is not None and len(self._random) == trainer.world_size:
            random_state.restore(self._random[trainer.global_rank], trainer.strategy.root_device)
        else:
            torch.manual_seed(self.config["seed"] + trainer.global_rank)
        self._random = None

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or not self.save:
            return
        self.recorder.pause()
        is_best = trainer.strategy.broadcast(self.recorder.best.get("step") == trainer.global_step)
        self.write(trainer, "last.ckpt")
        if is_best and trainer.is_global_zero:
            copied = self.folder / "best.ckpt.part"
            shutil.copyfile(self.folder / "last.ckpt", copied)
            os.replace(copied, self.folder / "best.ckpt")
            self.write_adapter(pl_module.model, self.folder / "best.ckpt")
        self.recorder.go_on()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.save and self._saved != trainer.global_step:  # without validation nothing has been saved yet
            self.write(trainer, "last.ckpt")

    def write(self, trainer: Trainer, name: str) -> None:
        """All ranks call this; a killed process never leaves half a file under the name."""
        folder = trainer.strategy.broadcast(str(self.folder))
        with averaged(trainer.lightning_module):
            trainer.save_checkpoint(Path(folder) / (name + ".part"))
        if trainer.is_global_zero:
            os.replace(Path(folder) / (name + ".part"), Path(folder) / name)
            self.write_adapter(trainer.lightning_module.model, Path(folder) / name)
        trainer.strategy.barrier()
        self._saved = trainer.global_step

    def write_adapter(self, model: Any, file: Path) -> None:
        """Beside the checkpoint ``last.ckpt`` what is trained of it, ``last.adapter.pt``, if the model has an adapter."""
        if (self.config.get("adapter") or {}).get("name", "none") == "none":
            return
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)  # whole, whatever was sharded
        state = {n: found["state_dict"][f"model.{n}"].clone() for n in adapter_state_dict(model)}
        about = {"version": __version__, "schema": SCHEMA, "adapter": self.config["adapter"]}
        target = file.with_suffix(".adapter.pt")
        torch.save({"components": about, "state_dict": state}, target.with_suffix(".part"))
        os.replace(target.with_suffix(".part"), target)


def read(file: Path) -> dict[str, Any]:
    """A checkpoint as plain data, with what this package wrote into it.

    Raises:
        UserError: no checkpoint, a damaged one, one that is not ours, one of a newer release.
    """
    if file.is_dir():
        raise UserError(
            str(file),
            "is a folder of shards",
            "consolidate it first, or save with trainer.strategy=fsdp2, which writes one file",
        )
    if not file.exists():
        raise UserError(str(file), "no such checkpoint")
    check_archive(file)
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as e:  # torch raises RuntimeError, UnpicklingError, EOFError, KeyError for damaged files
        if "weights_only" in str(e).lower() or "unsupported" in str(e).lower():
            raise UserError(
                str(file),
                "holds pickled objects, which are not loaded: they could run code",
                "use a checkpoint of this package",
            ) from e
        raise UserError(str(file), f"is no readable checkpoint ({type(e).__name__}: {(str(e).splitlines() or [''])[0]})") from e
    check_shape(checkpoint, str(file))
    return checkpoint


def tokenizer_files(tokenizer: Any) -> dict[str, str]:
    """What ``save`` writes, as {name: text}: a checkpoint moved elsewhere still knows its tokens."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder) / "tokenizer.json")
        return {file.name: file.read_text(encoding="utf8") for file in sorted(Path(folder).iterdir())}


def tokenizer_in(checkpoint: dict[str, Any], file: Path | str = "") -> Any:
    """Its tokenizer; ``file``: of the checkpoint, for messages.

    Raises:
        UserError: none that can be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, text in checkpoint["components"]["tokenizer"].items():
            (Path(folder) / name).write_text(text, encoding="utf8")
        try:
            return read_tokenizer(Path(folder) / "tokenizer.json")
        except UserError as e:  # the temporary folder is no place that anybody knows
            where = ": ".join(filter(None, (str(file), Path(e.where).name)))
            raise UserError(where, e.what.replace(f"{folder}{os.sep}", ""), e.instead) from e


def weights_in(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The model's own state dict."""
    return {n.removeprefix("model."): v for n, v in checkpoint["state_dict"].items() if n.startswith("model.")}
