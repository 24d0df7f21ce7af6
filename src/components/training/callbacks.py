"""The callbacks that a run's config names, ``callbacks: {early_stopping: {patience: 3}}``: checked without Lightning, and made."""

from __future__ import annotations

from typing import Any

from components.core import registry
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.makers import make, part_values
from components.runs.metrics_file import OF_LOSS


def chosen(node: Config | None) -> dict[str, Config]:
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
        registry.entry("callback", name, f"callbacks.{name}")
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


def check_callbacks(node: Config | None, *, logger: str) -> None:
    """What can be known before any is made. What a callback calls ``monitor`` is a figure of validation.

    Raises:
        UserError: an unknown callback or option, a value that it does not take, or a logger that cannot do what one needs.
    """
    for name, options in chosen(node).items():
        where = f"callbacks.{name}"
        values = part_values("callback", {"name": name, **options}, where)
        if "monitor" in values and not str(values["monitor"]).startswith("val_"):
            said = f"{', '.join(OF_LOSS)}, or val_ and a metric of the task"
            raise UserError(f"{where}.monitor", f"{values['monitor']!r} is no figure of validation", said)
        for word in _needed(registry.entry("callback", name)):
            able = [n for (_, n), e in registry.entries("logger").items() if word in e.signature.declared.get("provides", ())]
            if logger not in able:
                what = {"any_figure": "its figures have no column in metrics.csv"}.get(word, f"it needs {word} of the logger")
                raise UserError(where, what, f"add {' or '.join(f'logger={n}' for n in able) or 'a logger that has it'}")


def _needed(entry: registry.Entry) -> list[str]:
    """What the callback needs of the run's logger."""
    words = (entry.signature.declared.get("needs") or {}).get("logger", ())
    return [words] if isinstance(words, str) else list(words)


def make_callbacks(node: Config | None, metrics: Any = None) -> list[Any]:
    """Those that the config names, which ``check_callbacks`` has seen; ``metrics``: what the task measures, by name.

    Raises:
        UserError: early stopping watches what is not measured.
    """
    found = chosen(node).items()
    return [make({"name": name, **options}, "callback", metrics=dict(metrics or {})) for name, options in found]


def watched(made: list[Any], otherwise: tuple[str, str]) -> tuple[str, str]:
    """(figure, "min" or "max") that the best checkpoint is chosen by: what early stopping watches, else what the task says."""
    return next(((c.monitor, c.mode) for c in made if hasattr(c, "monitor")), otherwise)
