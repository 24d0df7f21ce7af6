"""What Lightning chooses itself where there is one device."""

from __future__ import annotations

from components.core.registry import register


@register("strategy", "single_device")
def single_device() -> str:
    """One process on one device."""
    return "single_device"
