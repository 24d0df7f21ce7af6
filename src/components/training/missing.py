"""The rank that others have waited for in vain, in words: which one, and where it was last seen."""

from __future__ import annotations

import os
import socket
import sys
import threading
from types import FrameType
from typing import TypedDict


class Beat(TypedDict):
    """What a rank tells of itself."""

    number: int  # it grows while the process lives
    step: int | None
    place: str  # where its main thread is
    pid: int
    host: str


class GaveUp(TypedDict):
    """What a rank says that a collective has failed on."""

    waited: bool  # it timed out; otherwise its connection was cut
    step: int | None
    place: str


class Missing:
    """A rank that others have waited for in vain.

    Args:
        rank: its number among all.
        beat: what it last told.
        waited: it was waited for; otherwise the connection was cut.
        alive: its process still tells something.
        aloud: of the ranks that have given up, this one says so.
        all_of_them: every rank has given up, and what each of them says.
    """

    def __init__(
        self,
        rank: int,
        beat: Beat | None,
        *,
        waited: bool,
        alive: bool = False,
        aloud: bool = True,
        all_of_them: dict[int, GaveUp] | None = None,
    ) -> None:
        self.rank, self.beat, self.waited, self.alive, self.aloud = rank, beat, waited, alive, aloud
        self.all = all_of_them or {}

    @property
    def step(self) -> int:
        return (self.beat and self.beat["step"]) or 0

    @property
    def name(self) -> str:
        if self.all:
            return "all ranks"
        beat = self.beat
        return f"rank {self.rank}" + (f" (process {beat['pid']} on {beat['host']})" if beat else "")

    @property
    def what(self) -> str:
        if self.all:
            places: dict[str, int] = {}  # ranks in one place are told of once
            for rank, held in sorted(self.all.items()):
                places.setdefault(f"{at_step(held['step'])}in {held['place']}", rank)
            how = "wait for one another" if self.waited else "are cut off from one another"
            return f"{how}: " + ", ".join(f"rank {rank} {place}" for place, rank in places.items())
        return ("does not answer" if self.waited else "has gone") + last_seen(self.beat)

    def is_process(self, pid: int | None) -> bool:
        """Whether it is this process of this machine."""
        return self.beat is not None and (self.beat["pid"], self.beat["host"]) == (pid, socket.gethostname())


def last_seen(beat: Beat | None) -> str:
    return "" if beat is None else f", last seen {at_step(beat['step'])}in {beat['place']}"


def at_step(step: int | None) -> str:
    return "" if step is None else f"at step {step} "


def place_of(thread: threading.Thread) -> str:
    """The innermost function that a thread is in, with file and line."""
    frame = sys._current_frames().get(thread.ident or 0)
    return "no function" if frame is None else named(frame, frame.f_lineno)


def place_in(error: BaseException) -> str:
    """The innermost function that an error came from, with file and line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "no function" if trace is None else named(trace.tb_frame, trace.tb_lineno)


def named(frame: FrameType, line: int) -> str:
    return f"{frame.f_code.co_name} ({os.path.basename(frame.f_code.co_filename)}:{line})"
