"""Memory above all."""

from __future__ import annotations

from lightning.pytorch.callbacks import DeviceStatsMonitor

from components.core.registry import register


@register("callback", "device_stats")
class DeviceStats(DeviceStatsMonitor):
    """Figures of the devices at every step that is logged: Lightning's DeviceStatsMonitor.

    Args:
        cpu_stats: figures of the CPU too; null: only where it is the device.
    """

    needs = {"logger": ("any_figure",)}

    def __init__(self, *, cpu_stats: bool | None = None) -> None:
        super().__init__(cpu_stats)
