"""A file of NumPy's that is written piece by piece, so that nobody holds the whole."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

HEADER = 128  # bytes of an .npy header of one dimension


class Array:
    """An ``.npy`` file of one dimension, complete when the stack that it was made in is closed.

    Args:
        stack: closes it.
        file: where.
        dtype: of its values.
    """

    def __init__(self, stack: ExitStack, file: Path, dtype: np.dtype) -> None:
        self.stream, self.dtype, self.size = stack.enter_context(file.open("wb")), dtype, 0
        self.stream.write(bytes(HEADER))
        stack.callback(self._finish)

    def add(self, values: np.ndarray) -> bytes:
        """Append them. Returns the bytes that were written."""
        data = values.astype(self.dtype, copy=False).tobytes()
        self.stream.write(data)
        self.size += len(values)
        return data

    def _finish(self) -> None:
        self.stream.seek(0)
        shown = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.size,)}
        np.lib.format.write_array_header_1_0(self.stream, shown)
        assert self.stream.tell() == HEADER
