"""How an optimizer step is cut into micro-batches over devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from components.core.config_types import Config
from components.core.makers import part_values
from components.training.estimate.layouts import Layout


@dataclass(frozen=True)
class Step:
    """How an optimizer step is cut.

    Args:
        rows: sequences of one micro-batch on one device.
        accumulate: micro-batches of a step.
        checkpointing: layers are computed again in the backward pass.
    """

    rows: int
    accumulate: int = 1
    checkpointing: bool = False


def rows_of(config: Config) -> int:
    """Sequences of an optimizer step, over all devices."""
    options = part_values("task", config["task"])
    rows, tokens, context = options["batch_size"], options.get("batch_tokens"), config["model"].get("context_length")
    if isinstance(tokens, int) and isinstance(context, int):
        return max(1, tokens // context)
    return int(rows)


def step_of(config: Config, trainer: Mapping[str, object], layout: Layout) -> tuple[Step, str]:
    """How the config cuts a step, and where its rows do not divide a line that says so: then each device gets the next whole number."""
    rows = rows_of(config)
    accumulate = trainer.get("accumulate_grad_batches")
    accumulate = accumulate if isinstance(accumulate, int) else 1
    groups = accumulate * layout.readers
    each = -(-rows // groups)
    step = Step(each, accumulate, bool(part_values("task", config["task"]).get("activation_checkpointing")))
    if rows % groups == 0:
        return step, ""
    among = f"{layout.readers} that read rows of their own" + (f" x {accumulate} micro-batches" if accumulate > 1 else "")
    return step, f"task.batch_size={rows} among {among}: planned with {each * groups}, {each} each"
