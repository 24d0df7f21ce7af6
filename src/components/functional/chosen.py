"""Lets a listener hear which kernel each place chooses, and why. Without a listener it only costs reading a global, as ``watch`` does.

A place that chooses calls ``if chosen.heard is not None: chosen.tell("attention", "fused", why)``. So what is shown is what was chosen: no
second table can say something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Choice(NamedTuple):
    """One of the ways in which an operation can be computed.

    Args:
        operation: what is computed: ``attention``, ``norm``, ``loss``.
        kernel: the way that was taken.
        why: the reason.
    """

    operation: str
    kernel: str
    why: str


Heard = dict[Choice, int]  # how many times each choice was made, in the order in which they were first made

heard: Heard | None = None


def tell(operation: str, kernel: str, why: str) -> None:
    """Say what was chosen to whoever listens."""
    if heard is not None:
        choice = Choice(operation, kernel, why)
        heard[choice] = heard.get(choice, 0) + 1


def begin() -> Heard:
    """Listen until ``end``."""
    global heard
    heard = Heard()
    return heard


def end() -> None:
    global heard
    heard = None


@contextmanager
def hearing() -> Iterator[Heard]:
    """The choices made within the block."""
    global heard
    before = heard
    try:
        yield begin()
    finally:
        heard = before


def in_a_line(choices: Heard) -> str:
    """Each operation with what it took: ``attention fused, norm torch``."""
    taken: dict[str, list[str]] = {}
    for choice in choices:
        if choice.kernel not in taken.setdefault(choice.operation, []):
            taken[choice.operation].append(choice.kernel)
    return ", ".join(f"{operation} {' and '.join(kernels)}" for operation, kernels in taken.items())
