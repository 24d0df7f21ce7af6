"""The rank behind a failed collective, in words: which one, and where it was last seen."""

from __future__ import annotations

import os
import sys
import threading
from types import FrameType
from typing import NamedTuple, TypedDict

from components.core.errors import UserError


class Beat(TypedDict):
    """What a rank tells of itself."""

    number: int  # it grows while the process lives
    step: int
    place: str  # where its main thread is
    pid: int
    host: str


class GaveUp(TypedDict):
    """What a rank says that a collective has failed on."""

    rank: int
    waited: bool  # it timed out; otherwise its connection was cut
    step: int
    place: str


class RankLost(UserError):
    """Another rank is gone or does not answer. It is not the user's mistake, so the exit code is 1."""

    exit_code = 1
    stands = False  # not even its threads run, so it will never end by itself
    aloud = True  # False: another rank says so


class Missing(NamedTuple):
    """Which rank the others have waited for in vain, and how; ``says`` is the rank that reports it."""

    name: str
    what: str
    says: int


def silent(rank: int, beat: Beat | None, *, waited: bool, says: int) -> Missing:
    """A rank that has not given up as the others have: what it last told of itself."""
    name = f"rank {rank}" + (f" (process {beat['pid']} on {beat['host']})" if beat else "")
    return Missing(name, ("does not answer" if waited else "has gone") + last_seen(beat), says)


def all_gave_up(held: list[GaveUp], *, waited: bool, says: int) -> Missing:
    """No rank is missing: all wait, in different places."""
    places: dict[str, int] = {}  # ranks in one place are told of once
    for one in sorted(held, key=lambda g: g["rank"]):
        places.setdefault(f"at step {one['step']} in {one['place']}", one["rank"])
    how = "wait for one another" if waited else "are cut off from one another"
    return Missing("all ranks", f"{how}: " + ", ".join(f"rank {rank} {place}" for place, rank in places.items()), says)


def last_seen(beat: Beat | None) -> str:
    return "" if beat is None else f", last seen at step {beat['step']} in {beat['place']}"


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
    """Function, file and line; within Python's own importer, whose files are frozen, whoever imports."""
    while frame.f_code.co_filename.startswith("<frozen ") and frame.f_back is not None:
        frame, line = frame.f_back, frame.f_back.f_lineno
    return f"{frame.f_code.co_name} ({os.path.basename(frame.f_code.co_filename)}:{line})"
