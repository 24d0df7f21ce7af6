"""Memory that a step frees stays for the next one. Does not import torch.

glibc maps a large block from the system and gives it back when it is freed, and cuts its heap when the end of it is free. A training step frees and asks for the
same activations each time, and the system clears each page anew: tens of thousands of page faults a step. Two settings of glibc keep the pages.
A process then keeps what it once needed until it ends, so only commands that train or generate choose this.
"""

from __future__ import annotations

import ctypes
import os

TRIM, MAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
KEPT, MAPPED = 2**31 - 1, 2**30  # bytes: what may lie free at the end of the heap, and from where on a block is mapped
SMALL = 2**20  # a block of so many bytes is mapped by itself, and so given back when it is freed
OLDER = 2**25  # the largest that some versions of glibc take for the second

settled = ""  # what was chosen for this process, and why


def given() -> list[str]:
    """What the user says about memory in the environment: the variables of glibc and of what may stand in its place."""
    return [n for n in sorted(os.environ) if n.startswith("MALLOC_") or (n == "GLIBC_TUNABLES" and "malloc" in os.environ[n])]


def glibc() -> ctypes.CDLL | None:
    """The C library, where it is glibc and its own allocator is the one in use."""
    try:
        library = ctypes.CDLL(None)
        _ = library.gnu_get_libc_version, library.mallopt
    except (OSError, AttributeError, TypeError):  # macOS, musl; Windows takes no None
        return None
    return None if "malloc" in os.environ.get("LD_PRELOAD", "") else library


def choice() -> str:
    """What a command that trains or generates does here, in words."""
    if names := given():
        return f"as the environment says: {' '.join(names)}"
    if glibc() is None:
        return "as the system's allocator does: it is not glibc's"
    return "kept from step to step, given back at the end"


def settle() -> None:
    """Keep freed memory in this process, unless the user has chosen."""
    global settled
    if settled:
        return
    settled = choice()
    if given() or (library := glibc()) is None:
        return
    if not library.mallopt(MAP, MAPPED):
        library.mallopt(MAP, OLDER)
    library.mallopt(TRIM, KEPT)


def give_back() -> None:
    """Give each large block back as soon as it is freed, unless the user has chosen: for a command that goes through a model tensor by tensor.

    Left to itself, glibc puts blocks of up to 32 MB into its heap, where they leave holes: two and a half times the model, where a few tensors are needed.
    """
    if not given() and (library := glibc()) is not None:
        library.mallopt(MAP, SMALL)
