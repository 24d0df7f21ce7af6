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
