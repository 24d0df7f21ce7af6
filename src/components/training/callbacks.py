"""Lightning callbacks that a config can name: a closed list, since a config is data and never code.

Lightning is imported when one is made; what a config says about them is checked without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from components.core.errors import UserError, nearest
from components.core.option_types import parse_type
from components.runs.metrics_file import OF_LOSS


def early_stopping(**options: Any) -> Any:
    from components.training.early_stopping import EarlyStopping

    return EarlyStopping(**{"monitor": "val_loss", "check_on_train_epoch_end": False, **options})


def device_stats(**options: Any) -> Any:
    from lightning.pytorch.callbacks import DeviceStatsMonitor

    return DeviceStatsMonitor(**options)


def figures(**options: Any) -> Any:
    from components.training.figures import Figures

    return Figures(**options)


# name: (what makes it, {option: annotation})
KNOWN: dict[str, tuple[Callable[..., Any], dict[str, str]]] = {
    "early_stopping": (
        early_stopping,
        {
            "monitor": "str",
            "min_delta": "float",
            "patience": "NonNegative",
            "verbose": "bool",
            "mode": "Literal['min', 'max']",
            "strict": "bool",
            "check_finite": "bool",
            "stopping_threshold": "float | None",
            "divergence_threshold": "float | None",
        },
    ),
    "figures": (figures, {"prompt": "str | None", "new_tokens": "NonNegative", "target": "str | None"}),
    "device_stats": (device_stats, {"cpu_stats": "bool | None"}),
}
NEEDS_LOGGER = ("device_stats",)


def chosen(node: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """{name: options} of those that are on, from ``{early_stopping: {patience: 3}}`` or from one node ``{name: early_stopping, ...}``.

    Raises:
        UserError: an unknown callback, or something that is no mapping of options.
    """
    node = dict(node or {})
    if "name" in node:
        name = node.pop("name")
        node = {} if name in ("none", "default", None) else {name: node}
    found = {}
    for name, options in node.items():
        if name not in KNOWN:
            raise UserError(f"callbacks.{name}", f"unknown callback {name!r}", nearest(name, KNOWN, called="callbacks"))
        if options is None or options is False:
            continue
        if options is not True and not isinstance(options, dict):
            raise UserError(
                f"callbacks.{name}",
                f"{options!r} is no mapping of options",
                f"write callbacks.{name}=true or {{option: value}}",
            )
        found[name] = {} if options is True else options
    return found


def check_callbacks(node: dict[str, Any] | None, *, logger: str) -> None:
    """What can be known before any is made.

    Raises:
        UserError: an unknown callback or option, a value that it does not take, or no logger where one is needed.
    """
    for name, options in chosen(node).items():
        known = KNOWN[name][1]
        for option, value in options.items():
            if option not in known:
                raise UserError(
                    f"callbacks.{name}.{option}",
                    f"{name} has no option {option!r}",
                    nearest(option, known, called=f"options of {name}"),
                )
            fault = parse_type(known[option]).fault(value)
            if fault:
                raise UserError(f"callbacks.{name}.{option}", fault)
            if option == "monitor" and not value.startswith("val_"):
                said = f"{', '.join(OF_LOSS)}, or val_ and a metric of the task"
                raise UserError(f"callbacks.{name}.{option}", f"{value!r} is no figure of validation", said)
        if name in NEEDS_LOGGER and logger == "csv":
            raise UserError(
                f"callbacks.{name}", "its figures have no column in metrics.csv", "add logger=tensorboard or logger=wandb"
            )


def make_callbacks(node: dict[str, Any] | None, metrics: Any = None) -> list[Any]:
    """Those that the config names, which ``check_callbacks`` has seen; ``metrics``: what the task measures, by name.

    Raises:
        UserError: early stopping watches what is not measured.
    """
    found = chosen(node)
    if "early_stopping" in found:
        found["early_stopping"] = watching(found["early_stopping"], dict(metrics or {}))
    return [KNOWN[name][0](**options) for name, options in found.items()]


def watched(made: list[Any]) -> tuple[str, str]:
    """(figure, "min" or "max") that the best checkpoint is chosen by: what early stopping watches, else the loss."""
    return next(((c.monitor, c.mode) for c in made if hasattr(c, "monitor")), (OF_LOSS[0], "min"))


def watching(options: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """Early stopping's options with the way that is better: less of a loss, and of a metric what it says itself; without a word, more."""
    name = options.get("monitor", OF_LOSS[0])
    if name in OF_LOSS:
        return options
    metric = metrics.get(name.removeprefix("val_")) if name.startswith("val_") else None
    if metric is None:
        known = [*OF_LOSS, *(f"val_{n}" for n in metrics)]
        raise UserError("callbacks.early_stopping.monitor", f"{name!r} is not measured", nearest(name, known, called="figures"))
    better = "min" if getattr(metric, "higher_is_better", None) is False else "max"
    return {"mode": better, **options}
