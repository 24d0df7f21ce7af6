"""How long a run is, known before it starts, and the arguments of Lightning's Trainer, checked by name."""

from __future__ import annotations

import inspect
from typing import Any

from lightning.pytorch import Trainer

from components.errors import UserError, nearest

OURS = ("max_tokens",)
DEFAULTS = {"gradient_clip_val": 1.0, "log_every_n_steps": 10, "num_sanity_val_steps": 0, "enable_model_summary": False}
NOT_OURS = {
    "use_distributed_sampler": "the order of the data is the library's own, so that it does not depend on devices",
    "overfit_batches": "use trainer.limit_train_batches with task.validation_every, or a small corpus",
    "reload_dataloaders_every_n_epochs": "the loaders do not change between epochs",
    "callbacks": "use the group callbacks",
    "logger": "use the group logger",
    "default_root_dir": "use paths.runs",
}


def trainer_settings(node: dict[str, Any]) -> dict[str, Any]:
    """The node ``trainer`` with our defaults; unknown arguments and those that the library owns are refused."""
    known = [n for n in inspect.signature(Trainer.__init__).parameters if n != "self"]
    for name, value in node.items():
        if name in NOT_OURS and value not in (None, False, 0, 0.0):
            raise UserError(f"trainer.{name}", "cannot be set", NOT_OURS[name])
        if name not in known and name not in (*OURS, "name"):
            raise UserError(
                f"trainer.{name}",
                f"Lightning's Trainer has no argument {name!r}",
                nearest(name, [*known, *OURS], called="arguments"),
            )
    kept = {n: v for n, v in node.items() if n not in NOT_OURS and n != "name"}
    return {**DEFAULTS, **{n: v for n, v in kept.items() if v is not None or n not in DEFAULTS or n == "gradient_clip_val"}}


def steps_in_epoch(settings: dict[str, Any], steps_per_epoch: int) -> int:
    """Optimizer steps in one of Lightning's epochs."""
    limit = settings.get("limit_train_batches")
    accumulate = settings.get("accumulate_grad_batches") or 1
    if isinstance(limit, float):
        return max(1, int(steps_per_epoch * limit))
    return max(1, min(steps_per_epoch, limit // accumulate)) if limit else steps_per_epoch


def total_steps(settings: dict[str, Any], per_epoch: int, tokens_per_step: int) -> int:
    """The smallest of max_steps, max_tokens and max_epochs, in optimizer steps.

    Lightning's own estimate builds the loaders to count (Lightning#20550); here the counts are known.

    Raises:
        UserError: the length is not limited by any of them.
    """
    limits = []
    steps, tokens, epochs = settings.get("max_steps"), settings.get("max_tokens"), settings.get("max_epochs")
    if settings.get("fast_dev_run"):
        limits.append(max(1, int(settings["fast_dev_run"])))
    if steps is not None and steps >= 0:
        limits.append(int(steps))
    if tokens:
        limits.append(max(1, int(tokens) // tokens_per_step))
    if epochs is not None and epochs >= 0:
        limits.append(int(epochs) * per_epoch)
    if not limits:
        also = " beside max_time" if settings.get("max_time") else ""
        raise UserError(
            "trainer",
            f"the schedule needs the length of the run{also}",
            "set trainer.max_steps, trainer.max_tokens or trainer.max_epochs",
        )
    return min(limits)
