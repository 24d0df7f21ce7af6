"""Memory above all."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from lightning.pytorch.callbacks import DeviceStatsMonitor

from components.core.extras import lacking
from components.core.registry import register


@register("callback", "device_stats")
class DeviceStats(DeviceStatsMonitor):
    """Figures of the devices at every step that is logged: Lightning's DeviceStatsMonitor.

    Args:
        cpu_stats: figures of the CPU too; null: only where it is the device.
    """

    needs = {"logger": ("any_figure",)}

    def __init__(self, *, cpu_stats: bool | None = None) -> None:
        cpu = not torch.accelerator.is_available() if cpu_stats is None else cpu_stats
        if cpu and find_spec("psutil") is None:  # Lightning finds out when the run has begun
            raise lacking("callbacks.device_stats", "figures of the CPU need the package psutil", "psutil")
        super().__init__(cpu_stats)
