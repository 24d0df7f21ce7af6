"""One row: an example as a model reads it."""

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
        targets: (T,) the id to predict at each position, -100 where nothing is asked; one class (int); or numbers, a tuple of floats.
        source: (S,) ids that an encoder reads.
        values: (T, F) numbers instead of ids.
        cut: something of the example was left out, so that it fits.
    """

    ids: Sequence[int]
    targets: Sequence[int] | int | tuple[float, ...]
    source: Sequence[int] | None = None
    values: Sequence[Sequence[float]] | None = None
    cut: bool = False

    @property
    def form(self) -> Form:
        """What the rows of a split have in common: kind and number of targets, whether there is a source, numbers at each position."""
        kind = "amounts" if isinstance(self.targets, tuple) else "class" if isinstance(self.targets, int) else "tokens"
        width = 0 if self.values is None else len(self.values[0])
        return kind, len(self.targets) if isinstance(self.targets, tuple) else 1, self.source is not None, width


def described(form: Form) -> str:
    """In words, for messages."""
    kind, n_targets, sourced, width = form
    read = f"{width} numbers at each position" if width else "tokens"
    asked = {"class": "a label", "amounts": f"{n_targets} numbers to predict"}.get(kind, "tokens to predict")
    return f"{read}{', a source' if sourced else ''} and {asked}"
