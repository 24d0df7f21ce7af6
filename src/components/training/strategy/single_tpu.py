"""Lightning's name for a run on a TPU without other processes."""

from __future__ import annotations

from components.core.registry import register


@register("strategy", "single_tpu")
def single_tpu() -> str:
    """One core of a TPU; it needs the package torch_xla."""
    return "single_tpu"
