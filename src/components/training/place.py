"""The state of Lightning's loops after a number of optimizer steps.

What a step reads is a function of (seed, step), so a checkpoint only needs the step. Lightning's own counters of micro-batches would go wrong
if a run goes on with other devices, another accumulation or another validation interval. They also claim that a validation was made
that was only due.
"""

from __future__ import annotations

from typing import cast

from lightning.pytorch import Trainer

from components.training.data_module import PackedDataModule
from components.training.epochs import steps_in


def loops_at(trainer: Trainer, step: int) -> dict[str, object]:
    """``checkpoint["loops"]`` for going on after ``step``: that step is complete, and the next has not begun."""
    data = cast(PackedDataModule, trainer.datamodule)  # type: ignore[attr-defined]  # Lightning sets it when it fits
    per_epoch, accumulate = steps_in(trainer, data.steps_per_epoch), trainer.accumulate_grad_batches
    epoch, within = divmod(step, per_epoch)
    begun = epoch + (within > 0)  # an epoch that has ended counts as whole; one that has not begun does not count
    state = trainer.fit_loop.state_dict()
    counts = {"ready": begun, "started": begun, "processed": epoch, "completed": epoch}
    _put(state["epoch_progress"], counts, counts)
    at = "epoch_loop."
    _put(state[at + "batch_progress"], _all(step * accumulate), _all(within * accumulate))
    state[at + "batch_progress"]["is_last_batch"] = False
    _put(state[at + "scheduler_progress"], _all(step), _all(within))
    for progress in state[at + "automatic_optimization.optim_progress"]["optimizer"].values():
        _put(progress, _all(step), _all(within))
    state[at + "state_dict"] = {"_batches_that_stepped": step}
    state["state_dict"] = {}
    return {"fit_loop": state}


def validate_now(trainer: Trainer) -> None:
    """Run the validation that was due when the run was stopped, as Lightning's loop does after a step."""
    loop, connector = trainer.fit_loop.epoch_loop, trainer._logger_connector
    first = connector._first_loop_iter
    loop.val_loop.restarting = False
    trainer.validating = True
    loop.val_loop.run()
    trainer.training = True
    connector._first_loop_iter = first


def _all(count: int) -> dict[str, int]:
    return dict.fromkeys(("ready", "started", "processed", "completed"), count)


def _put(progress: dict[str, dict[str, int]], total: dict[str, int], current: dict[str, int]) -> None:
    for name, counts in (("total", total), ("current", current)):
        progress[name] = {n: counts[n] for n in progress[name]}
