"""metrics.csv alone, which every run writes."""

from __future__ import annotations

from components.core.registry import register


@register("logger", "csv")
class Csv:
    """Nothing beside metrics.csv, which every run has in its folder."""

    def begin(self) -> None:
        return None
