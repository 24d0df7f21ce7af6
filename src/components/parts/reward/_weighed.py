"""What rewards of this folder have in common."""

from __future__ import annotations

from components.core.options import Options


class Weighed(Options):
    """One reward among several.

    Args:
        weight: what it is multiplied by before rewards are added up; below 0 it is a penalty.
    """

    weight: float = 1.0
