"""Lightning callbacks that a config can name: a closed list, since a config is data and never code."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import Callback, DeviceStatsMonitor, EarlyStopping

from components.errors import UserError, nearest

KNOWN: dict[str, tuple[type[Callback], dict[str, Any]]] = {
    "early_stopping": (EarlyStopping, {"monitor": "val_loss", "check_on_train_epoch_end": False}),
    "device_stats": (DeviceStatsMonitor, {}),
}


def make_callbacks(node: dict[str, Any] | None) -> list[Callback]:
    """``{early_stopping: {patience: 3}}`` -> callbacks, or one node ``{name: early_stopping, patience: 3}``."""
    node = dict(node or {})
    if "name" in node:
        name = node.pop("name")
        node = {} if name in ("none", "default", None) else {name: node}
    made = []
    for name, options in node.items():
        if options is None or options is False:
            continue
        if name not in KNOWN:
            raise UserError(f"callbacks.{name}", f"unknown callback {name!r}", nearest(name, KNOWN, called="callbacks"))
        kind, defaults = KNOWN[name]
        try:
            made.append(kind(**{**defaults, **(options if isinstance(options, dict) else {})}))
        except TypeError as e:
            raise UserError(f"callbacks.{name}", str(e)) from None
    return made
