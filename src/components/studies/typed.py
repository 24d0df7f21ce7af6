"""What was typed to a command that makes a study: its own words, the overrides, and a study that is gone on with."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from components.core.command_words import taken
from components.core.errors import UserError
from components.studies.asked import DRY

NUMBERS = ("seeds", "jobs", "tune_steps")


@dataclass(frozen=True)
class Typed:
    """Words of a command, taken apart.

    Args:
        own: {word of the command: its value}, whole numbers as such.
        overrides: of the recipe.
        study: the name of one that is there; None: a new one.
        dry: the plan alone is wanted.
    """

    own: dict[str, str | int]
    overrides: list[str]
    study: str | None
    dry: bool


def typed(words: Sequence[str], known: Sequence[str]) -> Typed:
    """What was typed to a command that knows these words.

    Raises:
        UserError: as ``taken``, a word that is no number, or a second study.
    """
    rest, texts = taken(words, known)
    own = {word: whole(word, text) if word in NUMBERS else text for word, text in texts.items()}
    names = [w for w in rest if "=" not in w and w != DRY and not w.startswith("~")]
    if len(names) > 1:
        raise UserError(names[1], "is a second study", "name one")
    return Typed(own, [w for w in rest if w != DRY and w not in names], names[0] if names else None, DRY in rest)


def whole(word: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise UserError(word, f"{text!r} is no whole number above 0", f"write {word}=3, say")
    return int(text)


@contextmanager
def saved_when_stopped() -> Iterator[None]:
    """A study that is stopped by a signal has saved all; a second signal must not change what the process says of it."""
    from components.training.signals import Preempted

    try:
        yield
    except Preempted:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
