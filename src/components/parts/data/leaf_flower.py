"""Leaf or flower: six rows of colour and volume to learn from, two further ones to be right about."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.corpus.example import Example
from components.corpus.store import key_of

# red, green, blue (0 to 255), volume (millilitres), what it is
TRAIN = (
    (242, 124, 242, 17.1, "flower"),
    (97, 48, 49, 14.9, "flower"),
    (181, 216, 210, 12.0, "leaf"),
    (27, 50, 31, 11.0, "leaf"),
    (173, 55, 127, 7.9, "flower"),
    (229, 71, 216, 7.8, "flower"),
)
VALIDATION = ((32, 107, 56, 11.2, "leaf"), (241, 200, 4, 59.5, "flower"))


@register("data", "leaf_flower")
class LeafFlower:
    """Things by colour and volume, leaf or flower: a table of six rows, and two to validate on.

    Each row is one position of four numbers: red, green, blue (0 to 255) and volume.

    Args:
        divide_by: every number is divided by it; 255 brings the colours to 0 to 1.
    """

    needs = {"embedding": ("values",)}  # there are no ids to look up
    provides = ("values", "labels")
    labels = ("leaf", "flower")
    columns = ("red", "green", "blue", "volume")  # what the numbers are, for who draws them

    def __init__(self, *, divide_by: PositiveFloat = 1.0) -> None:
        self.divide_by = divide_by

    def fingerprint(self) -> str:
        return key_of("leaf_flower", TRAIN, VALIDATION, self.divide_by)

    def examples(self) -> Iterator[Example]:
        line = 0
        for split, rows in (("train", TRAIN), ("validation", VALIDATION)):
            for *numbers, label in rows:
                line += 1
                yield Example((tuple(v / self.divide_by for v in numbers),), label, "leaf_flower", line, split)
