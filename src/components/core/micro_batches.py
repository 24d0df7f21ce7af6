"""How the rows of an optimizer step divide into devices and micro-batches."""

from __future__ import annotations

from components.core.errors import UserError


def rows_each(batch_size: int, accumulate: int, ranks: int) -> int:
    """Rows of one micro-batch on one device.

    Raises:
        UserError: they would be unequal.
    """
    if batch_size % (accumulate * ranks):
        raise UserError(
            "task.batch_size",
            f"{batch_size} sequences a step do not divide into {ranks} devices x {accumulate} micro-batches",
            f"take a multiple of {accumulate * ranks}",
        )
    return batch_size // (accumulate * ranks)
