"""What was typed to a command that makes a study: its own words, the overrides, and a study that is gone on with."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches

from components.core import registry
from components.core.errors import UserError
from components.studies.asked import DRY

NUMBERS = ("seeds", "jobs", "tune_steps")
VALUES = ("seed", "paths", "callbacks", "recipe", "init_from")  # what a recipe has at its top beside parts


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
        UserError: a word is there twice, is no number, or is nearly one of the command's and no value of a recipe; or there are two studies.
    """
    rest, own = [], dict[str, str | int]()
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            if equals and (meant := _meant(key, known)):
                raise UserError(key, "unknown word", f"did you mean {meant!r}? words: {', '.join(known)}")
            rest.append(word)
        elif key in own:
            raise UserError(key, "is given twice", "choose one")
        else:
            own[key] = whole(key, value) if key in NUMBERS else value
    names = [w for w in rest if "=" not in w and w != DRY and not w.startswith("~")]
    if len(names) > 1:
        raise UserError(names[1], "is a second study", "name one")
    return Typed(own, [w for w in rest if w != DRY and w not in names], names[0] if names else None, DRY in rest)


def _meant(key: str, known: Sequence[str]) -> str | None:
    """The word of the command that is nearly ``key``, where that is nothing of a recipe."""
    of_a_recipe = key in VALUES or key in registry.kinds()
    return None if of_a_recipe else next(iter(get_close_matches(key, known, n=1, cutoff=0.75)), None)


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
