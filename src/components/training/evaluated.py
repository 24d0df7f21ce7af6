"""The figures of a validation, from the sums of the task."""

from __future__ import annotations

import math

from components.core.traits import counts_tokens, measures_text
from components.runs.metrics_file import VAL_BITS, VAL_LOSS, VAL_PERPLEXITY, VALIDATION, perplexity
from components.runs.task_module import TaskModule


def evaluated(module: TaskModule, whole: tuple[int, int]) -> dict[str, float]:
    """Loss, perplexity of tokens, metrics and bits per byte of the validation that has just ended.

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
    return row
