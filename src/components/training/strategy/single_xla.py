"""Lightning's name for a run by XLA without other processes."""

from __future__ import annotations

from components.core.registry import register


@register("strategy", "single_xla")
def single_xla() -> str:
    """One device by XLA, whatever it compiles for; it needs the package torch_xla."""
    return "single_xla"
