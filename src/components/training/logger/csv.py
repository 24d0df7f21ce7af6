"""The choice for a run that no tracker follows."""

from __future__ import annotations

from components.core.registry import register


@register("logger", "csv")
class Csv:
    """Nothing beside metrics.csv, which every run has in its folder."""

    def begin(self) -> None:
        return None
