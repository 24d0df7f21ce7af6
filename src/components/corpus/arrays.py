"""A file of NumPy's that is written piece by piece, so that nobody holds the whole."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np


class Array:
    """An ``.npy`` file of one dimension, complete when the stack that it was made in is closed.

    Args:
        stack: closes it.
        file: where.
        dtype: of its values.
    """

    def __init__(self, stack: ExitStack, file: Path, dtype: np.dtype) -> None:
        self.stream, self.dtype, self.size = stack.enter_context(file.open("wb")), dtype, 0
        self._head()
        stack.callback(self._head)

    def add(self, values: np.ndarray) -> bytes:
        """Append them. Returns the bytes that were written."""
        data = values.astype(self.dtype, copy=False).tobytes()
        self.stream.write(data)
        self.size += len(values)
        return data

    def _head(self) -> None:
        """Write the header; it is as long for any number of values."""
        self.stream.seek(0)
        shown = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.size,)}
        np.lib.format.write_array_header_1_0(self.stream, shown)


def mapped(file: Path) -> np.ndarray:
    """What an ``.npy`` file holds, mapped from disk."""
    try:
        return np.load(file, mmap_mode="r")
    except ValueError:
        return np.load(file)  # one without values cannot be mapped
