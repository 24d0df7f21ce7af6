"""Writing checkpoints: ``last.ckpt`` and ``best.ckpt`` after each validation and when a run is stopped, always between optimizer steps.

This callback comes after everything that counts, such as early stopping. If a validation was due and could not be made, the checkpoint says so,
and the validation comes first when the run goes on.
"""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from components import __version__
from components.core import files
from components.core.collectives import least
from components.core.config_types import Config
from components.core.errors import UserError
from components.parts.adapter._merge import adapter_state_dict
from components.runs import random_state
from components.runs.archive import SCHEMA, Ours
from components.runs.task_module import TaskModule
from components.training.averaging import averaged
from components.training.callback_group import STATE_KEY as GROUP_STATE
from components.training.keeping import Keeping
from components.training.missing import RankLost
from components.training.place import loops_at, validate_now
from components.training.preemption import validation_due
from components.training.progress import Recorder
from components.training.resumable import tensors_in
from components.training.strategies import data_ranks, saves_by_itself, saving_shards

FRESH = f"fresh{files.PART}"  # what becomes last.ckpt
LEAVING = 60.0  # seconds that a checkpoint has to be finished in when the run ends with an error
Fault = tuple[str, str, str]  # the parts of a UserError


class Checkpoints(Callback):
    """Saves after each validation, with the random state.

    Args:
        folder: the run's ``checkpoints/``, or None on ranks that do not know it.
        config: spelled out, plain containers.
        tokenizer: its files, {name: text}.
        recorder: it knows which validation was the best.
        save: False writes no checkpoints.
        keeping: which checkpoints stay besides.
        finishing: nothing is left to train; the run only ends.
    """

    def __init__(
        self,
        folder: Path | None,
        config: Config,
        tokenizer: dict[str, str],
        recorder: Recorder,
        *,
        save: bool = True,
        keeping: Keeping | None = None,
        finishing: bool = False,
    ) -> None:
        self.finishing, self.keeping = finishing, keeping or Keeping()
        self.folder, self.config, self.tokenizer, self.recorder, self.save = folder, config, tokenizer, recorder, save
        self._found: Ours | None = None  # our entry of the checkpoint that the run goes on from
        self._saved = self._seen = -1
        self._due = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["components"] = {
            "version": __version__,
            "schema": SCHEMA,
            "config": self.config,
            "tokenizer": self.tokenizer,
            "random": random_state.of_all_ranks(trainer.strategy.root_device),
            "sums": {name: pair.cpu() for name, pair in cast(TaskModule, pl_module).train_so_far().items()},
            "optimizer_tensors": sum(tensors_in(one["state"]) for one in checkpoint["optimizer_states"] if "state" in one),
            "due": self._due,
            "stopped": not self._due and stopped_early(trainer, self.recorder.total_steps),
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._found = checkpoint["components"]
        states = checkpoint["callbacks"]
        for key in [k for k in states if k.startswith("EarlyStopping")]:  # an earlier release kept it outside the group
            states.setdefault(GROUP_STATE, {}).setdefault("EarlyStopping", states.pop(key))
        checkpoint["loops"] = loops_at(trainer, checkpoint["global_step"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # not earlier, since setting up draws random numbers; not on_train_epoch_start, which is not called in the middle of an epoch
        task, found, device = cast(TaskModule, pl_module), self._found, trainer.strategy.root_device
        self._found, self._seen = None, trainer.global_step
        states = found.get("random", []) if found is not None else []
        reader, readers = data_ranks(trainer)  # ranks that read the same rows draw the same numbers
        if len(states) == readers:
            random_state.restore(states[reader], device)
        else:
            torch.manual_seed(self.config["seed"] + reader)
        sums = found.get("sums", {}) if found is not None else {}
        for name, pair in sums.items():  # the sum over all ranks: one rank goes on with it, the others start at zero
            task.train_sums[name] = (pair if reader == 0 else torch.zeros_like(pair)).to(device)
        if found is not None and found.get("due"):
            task.holds_average = True  # the checkpoint's weights are the average, if there is one
            validate_now(trainer)
        if self.finishing:
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if not self.save or step == self._seen or not self.keeping.due(step):
            return
        self._seen = step  # micro-batches of the next step come with the same number
        if not validation_due(trainer):  # else the checkpoint comes after it
            self.recorder.pause()
            self.write(trainer)
            self.recorder.go_on()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or not self.save:
            return
        self.recorder.pause()
        self.write(trainer, best=trainer.strategy.broadcast(self.recorder.best.get("step") == trainer.global_step))
        self.recorder.go_on()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.save and self._saved != trainer.global_step:  # nothing has been saved after this step
            self.write(trainer)
        self.settle(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """What is being written while training goes on is worth waiting for, not for ever: another rank may hang."""
        shards = saving_shards(trainer.strategy)
        if shards is not None and not isinstance(exception, RankLost):  # without that rank's part it is never whole
            with suppress(Exception):  # the run ends with the error that it has
                shards.settle_shards(LEAVING)

    def settle(self, trainer: Trainer) -> None:
        """Wait until the checkpoint that is being written is there. All ranks call this.

        Raises:
            UserError: it could not be written; on all ranks.
        """
        shards = saving_shards(trainer.strategy)
        if shards is not None and (fault := shards.settle_shards()) is not None:
            raise UserError(*named(fault))

    def write(self, trainer: Trainer, *, due: bool = False, best: bool = False, wait: bool = False) -> None:
        """Write last.ckpt. All ranks call this. A kill leaves neither half a file nor a best.ckpt that is older than last.ckpt says.

        Args:
            trainer: Lightning's.
            due: the validation of this step is still to be made.
            best: also write best.ckpt.
            wait: until it is there, even if the strategy would write it while training goes on.

        Raises:
            UserError: the weights are not finite, or the file cannot be written. It is raised on all ranks; earlier checkpoints are kept.
        """
        self.settle(trainer)
        module = trainer.lightning_module
        model = cast(nn.Module, module.model)
        folder, self._due = Path(trainer.strategy.broadcast(str(self.folder))), due
        self.recorder.flush()  # the rows up to this step exist whenever the checkpoint does
        with averaged(module):
            if not finite(model):
                step = trainer.global_step
                left = "lower optimizer.lr, or warm up longer; the checkpoints of before are kept"
                raise UserError("training", f"the weights are not finite at step {step}, so they are not saved", left)
            checkpoint = trainer._checkpoint_connector.dump_checkpoint(False)
            names = [*(["best.ckpt"] if best else []), *self.keeping.names(trainer.global_step), "last.ckpt"]
            fault = self._put(trainer, checkpoint, folder, names)
        if fault := trainer.strategy.broadcast(fault):  # no rank goes on before the file is there
            raise UserError(*fault)
        if wait:
            self.settle(trainer)
        self._saved = trainer.global_step

    def _put(self, trainer: Trainer, checkpoint: dict[str, Any], folder: Path, names: list[str]) -> Fault | None:
        """Write the checkpoint. Returns the error's three parts, or None."""
        fresh, last = folder / FRESH, folder / names[-1]
        adapter = self.adapter_of(cast(nn.Module, trainer.lightning_module.model), checkpoint["state_dict"])
        shards = saving_shards(trainer.strategy)
        if shards is not None:
            fault = shards.begin_shards(checkpoint, fresh, lambda: self.keeping.publish(fresh, names, adapter))
            return None if fault is None else named(fault)
        if saves_by_itself(trainer.strategy):
            trainer.strategy.save_checkpoint(checkpoint, last)  # shards in a folder
            return None
        if not trainer.is_global_zero:
            return None
        try:
            with files.whole(fresh) as stream:  # tensor by tensor: Lightning would hold all of it in memory, then in /tmp
                torch.save(checkpoint, stream)
            self.keeping.publish(fresh, names, adapter)
        except UserError as e:
            return named((e.where, e.what, e.instead))
        except OSError as e:
            return (fault := files.unwritable(last, e)).where, fault.what, fault.instead
        finally:
            with suppress(OSError):
                fresh.unlink()
        return None

    def adapter_of(self, model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, object] | None:
        """If the model has an adapter: what is written beside ``last.ckpt`` as ``last.adapter.pt``. Ranks that have shards gather it."""
        if (self.config.get("adapter") or {}).get("name", "none") == "none" or not weights:
            return None
        held = {n: weights[f"model.{n}"].detach() for n in adapter_state_dict(model)}
        state = {n: (t.full_tensor() if isinstance(t, DTensor) else t).cpu().clone() for n, t in held.items()}
        about = {"version": __version__, "schema": SCHEMA, "adapter": self.config["adapter"]}
        return {"components": about, "state_dict": state}


def stopped_early(trainer: Trainer, total_steps: int) -> bool:
    """Whether training ends here although steps are left."""
    return trainer.should_stop and trainer.global_step < total_steps and trainer.fit_loop._can_stop_early


def named(fault: Fault) -> Fault:
    """The error with the name that the file would have got."""
    return fault[0].replace(FRESH, "last.ckpt"), *fault[1:]


def finite(model: torch.nn.Module) -> bool:
    """Whether every weight is finite, on every rank."""
    held = [p.to_local() if isinstance(p, DTensor) else p for p in model.parameters()]
    good = [torch.isfinite(p).all() for p in (p.detach() for p in held) if p.numel()]
    device = held[0].device if held else torch.device("cpu")
    whole = torch.stack([g.to(device) for g in good]).all().to(torch.int32) if good else torch.ones((), dtype=torch.int32)
    return bool(least(whole))
