"""How much memory there is, and whether what is asked for fits: held against each other before anything is allocated.

Imports no torch: who knows tensors adds up their bytes.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from pathlib import Path

from components.core.errors import UserError

GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # a container's bound


def available() -> int:
    """Bytes that this process may have: the machine's memory, or less where a container or a limit of the process bounds it."""
    bounds = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if sys.platform != "win32" else []
    for group in GROUPS:
        try:
            bounds.append(int(Path(group).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    try:
        import resource
    except ImportError:  # not on Windows
        return min(bounds, default=2**63)
    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return min([*bounds, *(held for held in limits if held != resource.RLIM_INFINITY)], default=2**63)


def hold(bytes_needed: int, where: str, what: str, instead: str, *, there: int | None = None) -> None:
    """UserError where ``what`` needs more bytes than ``there`` are; by default this process's memory."""
    there = available() if there is None else there
    if bytes_needed > there:
        raise UserError(where, f"needs {shown(bytes_needed)} for {what}, and this machine has {shown(there)}", instead)


def forget(address: int, count: int) -> None:
    """Let go of pages that were mapped from a file and not written to; who reads them again, reads the file again.

    The values stay what they are, so this is only about how much memory the process holds. Memory that is mapped from no file would be lost.

    Args:
        address: of the first byte.
        count: of bytes. Pages that lie in them only partly stay.
    """
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (address + count) // mmap.PAGESIZE * mmap.PAGESIZE - first
    if sys.platform != "linux" or length <= 0:  # elsewhere the advice means something else
        return
    ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), mmap.MADV_DONTNEED)


def shown(count: int) -> str:
    """``8.0 TB``: bytes as people read them."""
    size, units = float(count), iter(("bytes", "kB", "MB", "GB", "TB", "PB", "EB"))
    unit = next(units)
    while size >= 999.5 and (larger := next(units, None)):
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if size >= 100 or unit == "bytes" else f"{size:.1f} {unit}"
