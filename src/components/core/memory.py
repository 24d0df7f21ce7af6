"""How much memory there is, and whether what is asked for fits: held against each other before anything is allocated.

Imports no torch: who knows tensors adds up their bytes.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from components.core.errors import UserError

SYSTEM = Path("/")  # where proc and sys are looked for
OF_A_GROUP = ("memory.max", "memory/memory.limit_in_bytes")  # a bound of the second and of the first version of Linux's groups
HELD = ("anon", "total_rss")  # what cannot be given back, as each of them calls it


def available() -> int:
    """Bytes that this process may have: the machine's memory, or less where a container, a batch system or a limit of the process bounds it."""
    bounds = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if sys.platform != "win32" else []
    bounds += [limit for limit, _ in groups()]
    try:
        import resource
    except ImportError:  # not on Windows
        return min(bounds, default=2**63)
    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return min([*bounds, *(held for held in limits if held != resource.RLIM_INFINITY)], default=2**63)


def free() -> int:
    """Bytes of ``available`` that nobody holds now, swap included; all of them where the system does not say what is held."""
    bounds = [available(), *(limit - held for limit, held in groups())]
    told = figures(SYSTEM / "proc" / "meminfo")
    if "MemAvailable" in told:
        bounds.append(1024 * (told["MemAvailable"] + told.get("SwapFree", 0)))
    return max(0, min(bounds))


def groups() -> Iterator[tuple[int, int]]:
    """(bytes that it may hold, bytes of these that it cannot give back) of each of Linux's control groups that this process is in and that has a bound."""
    base, names = SYSTEM / "sys" / "fs" / "cgroup", {""}
    try:
        lines = (SYSTEM / "proc" / "self" / "cgroup").read_text(encoding="utf8").splitlines()
    except OSError:  # not on Linux
        lines = []
    for line in lines:  # 0::/system.slice/job, or 4:memory:/job
        number, kinds, path = line.split(":", 2)
        if number == "0" or "memory" in kinds.split(","):
            steps = [step for step in path.split("/") if step and step != ".."]
            names |= {"/".join(steps[:n]) for n in range(1, len(steps) + 1)}
    for bound in OF_A_GROUP:
        version, _, file = bound.rpartition("/")
        for folder in (base / version / name for name in names):
            try:
                limit = int((folder / file).read_text(encoding="ascii"))
            except (OSError, ValueError):  # no such group, or "max"
                continue
            held = figures(folder / "memory.stat")
            yield limit, next((held[word] for word in HELD if word in held), 0)


def figures(file: Path) -> dict[str, int]:
    """The numbers of a file of Linux's, by the word that stands before each; none where it cannot be read."""
    try:
        lines = [line.replace(":", " ").split() for line in file.read_text(encoding="ascii").splitlines()]
    except OSError:  # not on Linux, or another version of it
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}


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
