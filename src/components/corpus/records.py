"""What is known of each document before duplicates are: the types of the files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

RECORD = np.dtype(
    [
        ("high", "<u8"),
        ("low", "<u8"),
        ("split", "u1"),
        ("repeated", "?"),
        ("pieces", "<u4"),
        ("characters", "<i8"),
        ("line", "<i8"),
        ("source", "<u4"),  # its number among those of the shard
    ]
)
DIGEST = np.dtype([("high", "<u8"), ("low", "<u8"), ("index", "<u4")])
Tick = Callable[[int], None]  # told how many more are done
