"""How a process ends after its ranks have communicated over gloo.

gloo's threads release Python objects a moment after a collective has ended. A thread that asks for the interpreter while it shuts down is
unwound through C++ that forbids it, and the process aborts ("terminate called without an active exception") although all its
work is done: seen in one of twelve runs under FSDP2 (torch 2.13), in ``ProcessGroupGloo::runLoop``. So such a process runs its exit
handlers and exits without shutting the interpreter down.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn

_closed = False  # a process group was open here


def note_talk() -> None:
    """Note that a process group was closed here. Its threads may live a moment longer."""
    global _closed
    _closed = True


def process_group_open() -> bool:
    """Whether this process has, or ever had, an open process group. Imports nothing."""
    if _closed:
        return True
    dist = sys.modules.get("torch.distributed")
    return dist is not None and dist.is_available() and dist.is_initialized()


def hard_exit(code: int) -> NoReturn:
    """End the process with ``code``. As ``sys.exit`` does first, wait for threads, run the exit handlers and flush the output."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the reader has gone, or the stream is closed
            code = code or 1
    os._exit(code)
