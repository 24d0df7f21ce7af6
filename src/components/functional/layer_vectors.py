"""The small vectors that an embedding has of each token for every layer: how wide they are where nobody says it.

Apart, since embedding and layers must agree on it and neither knows the other.
"""

from __future__ import annotations


def layer_width(width: int | None, d_model: int) -> int:
    """``width``, or an eighth of d_model, at least 1."""
    return max(1, d_model // 8) if width is None else width
