"""Checkpoints that any trainer writes hold what rebuilds the task: its config and its tokenizer, as those of our own runs do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, cast

import torch
from lightning.pytorch import Trainer

from components import __version__
from components.core import registry
from components.core.config_types import part_name
from components.core.errors import UserError, found_in
from components.core.makers import part_values
from components.runs import archive, checkpoints
from components.training.averaging import averaged, averaging_of
from components.training.data_module import PackedDataModule
from components.training.epochs import steps_in
from components.training.place import loops_at

OURS = "components"  # our entry in a checkpoint


class Portable:
    """A LightningModule that ``load_from_checkpoint`` rebuilds without a config file."""

    _files: dict[str, str] | None = None  # the tokenizer's, {name: text}

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Beside Lightning's state: config and tokenizer. Where weights are averaged, the checkpoint has the average."""
        if OURS in checkpoint:
            return  # a run's own, which says more
        module: Any = self
        if self._files is None:
            self._files = checkpoints.tokenizer_files(module.tokenizer)
        task = {**module.config["task"], "batch_size": module.batch_size}  # as it is now: a search may have changed it
        if module.batch_tokens is not None:
            task["batch_tokens"] = None
        checkpoint[OURS] = {
            "version": __version__,
            "schema": archive.SCHEMA,
            "config": {**module.config, "task": task},
            "tokenizer": self._files,
        }
        if averaging_of(module) is not None and not module.holds_average:
            strategy = module.trainer.strategy
            with averaged(module):
                checkpoint["state_dict"] = _copied(strategy.lightning_module_state_dict())
                if "optimizer_states" in checkpoint:
                    checkpoint["optimizer_states"] = _copied([strategy.optimizer_state(o) for o in module.trainer.optimizers])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint from the middle of a step, or of another layout of steps, goes on with the step that was not complete."""
        trainer = cast(Trainer, self.trainer)  # type: ignore[attr-defined]
        data, loops = trainer.datamodule, checkpoint.get("loops")  # type: ignore[attr-defined]
        if trainer.state.fn != "fit" or not isinstance(data, PackedDataModule) or not isinstance(loops, dict) or not loops:
            return  # what is no mapping is refused where it is read
        step = checkpoint["global_step"]
        per_epoch = steps_in(trainer, data.steps_per_epoch) * trainer.accumulate_grad_batches
        within = step * trainer.accumulate_grad_batches % per_epoch
        ready = loops["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"]
        if ready != within and (within or ready not in (0, per_epoch)):
            checkpoint["loops"] = {**loops, **loops_at(trainer, step)}

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **options: object,
    ) -> Self:
        """A task with the weights, the tokenizer and the config of a checkpoint, written by any trainer's ``ModelCheckpoint`` or by a run of ours.

        Called on a task's class it gives that class, and on a class of one's own below it that one.

        Args:
            checkpoint_path: the file.
            map_location: the device, CPU if left out.
            hparams_file: Lightning's; there is none, since the checkpoint holds its config.
            strict: False: weights that are missing or too many are passed over.
            weights_only: Lightning's; a checkpoint is read as plain data in any case.
            options: other values for options of the task, such as ``batch_size=4``.

        Raises:
            UserError: the file is missing, damaged or not ours, or holds another task; or there is no such option.
        """
        del weights_only
        if hparams_file is not None:
            raise UserError("hparams_file", "the checkpoint holds its own config", "leave it out")
        file = Path(checkpoint_path)
        held = checkpoints.read(file, "weights")
        config = dict(held[OURS]["config"])
        name = part_name(config["task"])
        known = registry.find("task", name)
        if not issubclass(cls, known) and not issubclass(known, cls):
            raise UserError(
                str(file), f"is of task/{name}, which is no {cls.__name__}", f"{known.__name__}.load_from_checkpoint"
            )
        config["task"] = {**config["task"], **options}
        values = part_values("task", config["task"])
        tokenizer = checkpoints.tokenizer_in(held, file)
        with found_in(file):
            made: Any = cls if issubclass(cls, known) else known
            task = made(config=config, tokenizer=tokenizer, **values)
            task.place(task.new_model(), "cpu" if map_location is None else torch.device(map_location), draw=False)
        if strict is False:
            task.placed.load_state_dict(checkpoints.weights_in(held), strict=False)
        else:
            archive.load_into(task.placed, checkpoints.weights_in(held), str(file))
        rest = {n: v for n, v in held["state_dict"].items() if not n.startswith("model.")}  # of the loss, where it has any
        task.load_state_dict(rest, strict=False)
        return task


def _copied(value: object) -> object:
    """The same with tensors of its own."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {n: _copied(v) for n, v in value.items()}
    return [_copied(v) for v in value] if isinstance(value, list) else value
