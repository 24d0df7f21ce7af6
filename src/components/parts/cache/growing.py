"""Keep the keys and values of every position, in buffers that double when they are full.

Pope et al. 2022, arXiv:2211.05102
"""

from __future__ import annotations

from components.core.registry import register
from components.parts.cache._slots import Slots


@register("cache", "growing")
class Growing(Slots):
    """Growing: every position stays.

    Positions, documents and padding are kept once for all layers; None as long as no call gives them.
    """

    def __init__(self) -> None:
        super().__init__()

    def cut(self, length: int) -> bool:
        """Keep the first ``length`` positions. False, and nothing has changed, where a module keeps a state: of what came last."""
        slots = self._slots.values()
        if any(slot.state for slot in slots):
            return False
        self.length = min(self.length, length)
        for slot in slots:
            slot.length = min(slot.length, length)
        lines = [line for log in self._logs.values() for line in log.lines.values()]
        for line in (*lines, *(buffer for slot in slots for buffer in (slot.keys, slot.values))):
            line.length = min(line.length, length)
        return True
