"""One row of a batch, for one example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Form = tuple[
    str, int, bool, int
]  # tokens, class or amounts; how many of them; whether there is a source; numbers at each position


@dataclass(frozen=True, slots=True)
class Row:
    """One example as a model reads it.

    Args:
        ids: (T,) token ids, 0 where the row is numbers.
        targets: (T,) the id to predict at each position, -100 for none; or one class (int); or numbers, a tuple of floats.
        source: (S,) ids that an encoder reads.
        values: (T, F) numbers instead of ids.
        cut: whether a part of the example was left out to make it fit.
    """

    ids: Sequence[int]
    targets: Sequence[int] | int | tuple[float, ...]
    source: Sequence[int] | None = None
    values: Sequence[Sequence[float]] | None = None
    cut: bool = False

    @property
    def form(self) -> Form:
        """What all rows of a split share: kind and number of targets, whether there is a source, and how many numbers a position
        has."""
        kind = "amounts" if isinstance(self.targets, tuple) else "class" if isinstance(self.targets, int) else "tokens"
        width = 0 if self.values is None else len(self.values[0])
        return kind, len(self.targets) if isinstance(self.targets, tuple) else 1, self.source is not None, width


def described(form: Form) -> str:
    """In words, for messages."""
    kind, n_targets, sourced, width = form
    read = f"{width} numbers at each position" if width else "tokens"
    asked = {"class": "a label", "amounts": f"{n_targets} numbers to predict"}.get(kind, "tokens to predict")
    return f"{read}{', a source' if sourced else ''} and {asked}"
