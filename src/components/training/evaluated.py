"""The figures of a step that is reported, and of the validation or test that has just ended, from the sums of the task."""

from __future__ import annotations

import math

from lightning.pytorch import Trainer

from components.core.traits import counts_tokens, measures_text
from components.parts.optimizer._nested import figures
from components.runs.metrics_file import VAL_BITS, VAL_LOSS, VAL_PERPLEXITY, VALIDATION, perplexity
from components.runs.task_module import TaskModule
from components.training.expert_load import expert_load


def of_step(trainer: Trainer, module: TaskModule, losses: dict[str, float]) -> dict[str, float]:
    """What a reported step has beside its loss and learning rate: figures of the optimizer, other terms of the objective, the load of experts,
    the gradient's norm before it was clipped, steps that a guard has left out. ``losses``: means by name since the last report."""
    row = figures(trainer.optimizers[0]) | {f"train_{n}": v for n, v in losses.items() if n != "loss"}
    row |= expert_load(module.last_stats) | module.faults
    return row if module.grad_norm is None else row | {"grad_norm": float(module.grad_norm)}


def evaluated(module: TaskModule, whole: tuple[int, int], prefix: str = VALIDATION) -> dict[str, float]:
    """Loss, perplexity of tokens, metrics and bits per byte of the pass that has just ended, their names begun with ``prefix``.

    ``whole``: (bytes, targets) of the split; a pass over a part of it counts its share of the bytes. Bits per byte are given only if the
    loss is the likelihood of the text, left to right.
    """
    means, nats, weight = module.take_eval()
    n_bytes, n_targets = whole
    seen = n_bytes * (weight / n_targets) if n_targets else 0.0
    loss = means.pop("loss", math.nan)
    row = {VAL_LOSS: loss}
    if counts_tokens(module.loss):
        row[VAL_PERPLEXITY] = perplexity(loss)
    row.update({f"{VALIDATION}{name}": value for name, value in means.items()})
    if n_bytes and measures_text(
        module.loss, module.model
    ):  # rows of examples have no bytes: only a part of their text is a target
        row[VAL_BITS] = nats / math.log(2) / seen if seen else math.nan
    return {f"{prefix}{name.removeprefix(VALIDATION)}": value for name, value in row.items()}
