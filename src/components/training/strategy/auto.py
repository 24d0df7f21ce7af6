"""Whatever Lightning takes for the devices that there are."""

from __future__ import annotations

from components.core.registry import register


@register("strategy", "auto")
def auto() -> str:
    """One device alone, or DDP over several."""
    return "auto"
