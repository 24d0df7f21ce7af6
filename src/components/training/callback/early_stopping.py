"""Early stopping that goes on with a run: what it has seen comes from the checkpoint, what it should do from the config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from lightning.pytorch import callbacks

from components.core.errors import UserError, nearest
from components.core.registry import register
from components.core.signature import NonNegative
from components.runs.metrics_file import OF_LOSS


@register("callback", "early_stopping")
class EarlyStopping(callbacks.EarlyStopping):
    """End the run when a figure of validation has not become better for some validations, and choose the best checkpoint by it.

    Lightning's, but for the patience, which Lightning takes from the checkpoint: a changed one would not count.

    Args:
        metrics: what the task measures, by name.
        monitor: the figure, ``val_loss`` or ``val_`` and a metric of the task.
        min_delta: a change of no more than this does not count.
        patience: how many validations may pass without a better figure.
        verbose: say each time what has been seen.
        mode: which way is better; null: less of a loss, and of a metric what the metric says itself, else more.
        strict: a figure that is not there ends the run with an error.
        check_finite: end the run at a figure that is infinite or no number.
        stopping_threshold: end the run at once when the figure is this good.
        divergence_threshold: end the run at once when the figure is this bad.

    Raises:
        UserError: nothing of that name is measured.
    """

    def __init__(
        self,
        metrics: Mapping[str, Any],
        *,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: NonNegative = 3,
        verbose: bool = False,
        mode: Literal["min", "max"] | None = None,
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
    ) -> None:
        super().__init__(
            monitor=monitor,
            min_delta=min_delta,
            patience=patience,
            verbose=verbose,
            mode=better(monitor, metrics, mode),
            strict=strict,
            check_finite=check_finite,
            stopping_threshold=stopping_threshold,
            divergence_threshold=divergence_threshold,
            check_on_train_epoch_end=False,
        )

    def load_state_dict(self, state_dict: Mapping[str, object]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})


def better(figure: str, metrics: Mapping[str, object], said: str | None) -> str:
    """``min`` or ``max``: what is ``said``, else what the figure itself says. UserError where nothing of that name is measured."""
    if figure in OF_LOSS:
        return said or "min"
    metric = metrics.get(figure.removeprefix("val_")) if figure.startswith("val_") else None
    if metric is None:
        known = [*OF_LOSS, *(f"val_{n}" for n in metrics)]
        raise UserError(
            "callbacks.early_stopping.monitor", f"{figure!r} is not measured", nearest(figure, known, called="figures")
        )
    return said or ("min" if getattr(metric, "higher_is_better", None) is False else "max")
