"""TPUs and whatever else XLA compiles for, where the package torch_xla is installed."""

from __future__ import annotations

from components.core.registry import preset, register


@register("strategy", "xla")
def xla(*, debug: bool = False) -> str:
    """Several devices by XLA, as TPUs are; it needs the package torch_xla.

    Args:
        debug: with XLA's own figures.
    """
    return "xla_debug" if debug else "xla"


preset("strategy", "xla_debug", of="xla", debug=True)  # Lightning's name
