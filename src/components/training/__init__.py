"""The one room that knows Lightning: tasks, loaders, trainer, strategies, callbacks, loggers."""

from __future__ import annotations

import logging
import warnings
from importlib import import_module

from components.core import later

# of tqdm, which Lightning imports: in a notebook without ipywidgets it tells of a bar that nobody draws
warnings.filterwarnings("ignore", "IProgress not found")


def _version() -> str:
    from importlib.metadata import version

    return version("torchmetrics")


# Lightning asks torchmetrics for its version and two classes. The whole package brings all metrics, and with them scipy and transformers where they are
# installed: two of the five seconds from the shell to the first step.
later.install(
    "torchmetrics",
    "utilities",
    {
        "__version__": _version,
        "Metric": lambda: vars(import_module("torchmetrics.metric"))["Metric"],
        "MetricCollection": lambda: vars(import_module("torchmetrics.collections"))["MetricCollection"],
        "_logger": lambda: logging.getLogger("torchmetrics"),  # its own modules ask for it
    },
)
