"""Checkpoints, written: ``last.ckpt`` and ``best.ckpt`` after each validation, and where a run is stopped; always between optimizer steps.

What saves comes after all that counts: this callback stands behind early stopping and whatever else a validation feeds. A validation that is
due and could not be made is noted in the checkpoint, and is the first thing that is done when the run goes on.
"""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch.distributed.tensor import DTensor

from components import __version__
from components.core import files
from components.core.collectives import least
from components.core.errors import UserError
from components.parts.adapter._merge import adapter_state_dict
from components.runs import random_state
from components.runs.archive import SCHEMA
from components.training.averaging import averaged
from components.training.place import loops_at, validate_now
from components.training.resumable import tensors_in
from components.training.strategies import saves_by_itself


class Checkpoints(Callback):
    """Save after each validation, and the random state with it.

    Args:
        folder: the run's ``checkpoints/``; the same on all ranks, or None on those that were not told.
        config: spelled out, plain containers.
        tokenizer: its files, {name: text}.
        recorder: knows which validation was the best.
        save: False trains without writing any.
        finishing: nothing is left to train, the run only ends.
    """

    def __init__(
        self,
        folder: Path | None,
        config: dict[str, Any],
        tokenizer: dict[str, str],
        recorder: Any,
        *,
        save: bool = True,
        finishing: bool = False,
    ) -> None:
        self.finishing = finishing
        self.folder, self.config, self.tokenizer, self.recorder, self.save = folder, config, tokenizer, recorder, save
        self._found: dict[str, Any] | None = None  # what the checkpoint says that the run goes on from
        self._saved = -1
        self._due = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["components"] = {
            "version": __version__,
            "schema": SCHEMA,
            "config": self.config,
            "tokenizer": self.tokenizer,
            "random": random_state.of_all_ranks(trainer.strategy.root_device),
            "sums": {name: pair.cpu() for name, pair in pl_module.train_so_far().items()},
            "optimizer_tensors": sum(tensors_in(one["state"]) for one in checkpoint["optimizer_states"] if "state" in one),
            "due": self._due,
            "stopped": not self._due and stopped_early(trainer, self.recorder.total_steps),
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._found = checkpoint["components"]
        states = checkpoint["callbacks"]
        for key in [k for k in states if k.startswith("EarlyStopping")]:  # an earlier release kept it beside the others
            states.setdefault("Together", {}).setdefault("EarlyStopping", states.pop(key))
        checkpoint["loops"] = loops_at(trainer, checkpoint["global_step"])

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        # here and no earlier: setting up draws random numbers too; on_train_epoch_start is not called in the middle of an epoch
        found, self._found, device = self._found or {}, None, trainer.strategy.root_device
        if len(states := found.get("random", ())) == trainer.world_size:
            random_state.restore(states[trainer.global_rank], device)
        else:
            torch.manual_seed(self.config["seed"] + trainer.global_rank)
        for name, pair in found.get("sums", {}).items():  # of all ranks: one goes on with them, the others begin at nothing
            pl_module.train_sums[name] = (pair if trainer.is_global_zero else torch.zeros_like(pair)).to(device)
        if found.get("due"):
            pl_module.holds_average = True  # the checkpoint's weights are the average, if there is one
            validate_now(trainer)
        if self.finishing:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or not self.save:
            return
        self.recorder.pause()
        self.write(trainer, best=trainer.strategy.broadcast(self.recorder.best.get("step") == trainer.global_step))
        self.recorder.go_on()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.save and self._saved != trainer.global_step:  # without validation nothing has been saved yet
            self.write(trainer)

    def write(self, trainer: Trainer, *, due: bool = False, best: bool = False) -> None:
        """Write last.ckpt; all ranks call this. Nothing that a kill leaves is half a file, or an older best than the last knows of.

        Args:
            trainer: Lightning's.
            due: a validation of this step has still to be made.
            best: it is best.ckpt too.

        Raises:
            UserError: on all ranks, with the checkpoints of before in place: the weights are not finite, or the file cannot be written.
        """
        module = trainer.lightning_module
        folder, self._due = Path(trainer.strategy.broadcast(str(self.folder))), due
        self.recorder.flush()  # the rows up to this step are there whenever the checkpoint is
        with averaged(module):
            if not finite(module.model):
                step = trainer.global_step
                left = "lower optimizer.lr, or warm up longer; the checkpoints of before are kept"
                raise UserError("training", f"the weights are not finite at step {step}, so they are not saved", left)
            checkpoint = trainer._checkpoint_connector.dump_checkpoint(False)
            fault = self._put(trainer, checkpoint, folder, ("best.ckpt", "last.ckpt") if best else ("last.ckpt",))
        if fault := trainer.strategy.broadcast(fault):  # and nobody goes on before it is there
            raise UserError(*fault)
        self._saved = trainer.global_step

    def _put(self, trainer: Trainer, checkpoint: dict[str, Any], folder: Path, names: tuple[str, ...]) -> Any:
        """What went wrong, or None. Only the last name is written, the others are the same file under another name."""
        if saves_by_itself(trainer.strategy):
            trainer.strategy.save_checkpoint(checkpoint, folder / names[-1])  # shards in a folder
            return None
        if not trainer.is_global_zero:
            return None
        fresh = folder / "fresh.part"
        try:
            with files.whole(fresh) as stream:  # tensor by tensor: Lightning's own way holds all of it in memory, then in /tmp
                torch.save(checkpoint, stream)
            for name in names:
                if name != names[-1]:
                    alias(fresh, folder / name)
                else:
                    os.replace(fresh, folder / name)
                self.write_adapter(trainer.lightning_module.model, checkpoint["state_dict"], folder / name)
        except UserError as e:
            return e.where.replace(str(fresh), str(folder / names[-1])), e.what, e.instead
        except OSError as e:
            return (fault := files.unwritable(folder / names[-1], e)).where, fault.what, fault.instead
        finally:
            with suppress(OSError):
                fresh.unlink()
        return None

    def write_adapter(self, model: Any, weights: dict[str, Any], file: Path) -> None:
        """Beside the checkpoint ``last.ckpt`` what is trained of it, ``last.adapter.pt``, if the model has an adapter."""
        if (self.config.get("adapter") or {}).get("name", "none") == "none":
            return
        state = {n: weights[f"model.{n}"].detach().cpu().clone() for n in adapter_state_dict(model)}
        about = {"version": __version__, "schema": SCHEMA, "adapter": self.config["adapter"]}
        with files.whole(file.with_suffix(".adapter.pt")) as stream:
            torch.save({"components": about, "state_dict": state}, stream)


def stopped_early(trainer: Trainer, total_steps: int) -> bool:
    """Whether the loop ends here though steps are left."""
    return trainer.should_stop and trainer.global_step < total_steps and trainer.fit_loop._can_stop_early


def finite(model: torch.nn.Module) -> bool:
    """Whether every weight is, on every rank."""
    held = [p.to_local() if isinstance(p, DTensor) else p for p in model.parameters()]
    good = [torch.isfinite(p).all() for p in (p.detach() for p in held) if p.numel()]
    device = held[0].device if held else torch.device("cpu")
    whole = torch.stack([g.to(device) for g in good]).all().to(torch.int32) if good else torch.ones((), dtype=torch.int32)
    return bool(least(whole))


def alias(file: Path, name: Path) -> None:
    """``name`` is the content of ``file``: the same file where the disk can, since no checkpoint is ever written into; else a copy."""
    part = name.with_name(name.name + ".part")
    with suppress(OSError):
        part.unlink()
    try:
        os.link(file, part)
        os.replace(part, name)
    except OSError:
        with suppress(OSError):
            part.unlink()
        with file.open("rb") as source, files.whole(name) as target:
            shutil.copyfileobj(source, target, 2**22)
