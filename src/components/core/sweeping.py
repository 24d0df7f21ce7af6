"""Imports without Python's search for garbage, which takes a quarter of their time: what an import makes stays."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unswept() -> Iterator[None]:
    """Import torch and what stands on it within. What is there afterwards is left out of later searches, which are shorter by as much.

    Nothing where torch is there already: then garbage may hold tensors, and must be found.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
