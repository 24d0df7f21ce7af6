"""Handwritten digits of 8x8 pixels, as rows of patches; needs the package scikit-learn, which has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from components.core.extras import lacking
from components.core.registry import register
from components.corpus.example import Example
from components.corpus.store import key_of

SIDE, BRIGHTEST = 8, 16


@register("data", "digits")
class Digits:
    """1,797 handwritten digits of 8x8 grey pixels, each cut into patches that stand like words in a row; licence: BSD.

    Patches go from left to right and from above, and so do the pixels within a patch; 0 is black, 1 the brightest.

    Args:
        patch: pixels along a patch's side: 2 gives 16 positions of 4 numbers, 8 one position of 64.
    """

    needs = {"embedding": ("values",)}  # there are no ids to look up
    provides = ("values", "labels")
    labels = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")

    def __init__(self, *, patch: Literal[1, 2, 4, 8] = 2) -> None:
        self.patch = patch
        self.version, self.load = _sklearn()

    def fingerprint(self) -> str:
        return key_of("digits", self.version, self.patch)

    def examples(self) -> Iterator[Example]:
        found, p = self.load(), self.patch
        places = [(y, x) for y in range(0, SIDE, p) for x in range(0, SIDE, p)]
        for i, (image, digit) in enumerate(zip(found.images.tolist(), found.target.tolist()), 1):
            patches = tuple(tuple(v / BRIGHTEST for row in image[y : y + p] for v in row[x : x + p]) for y, x in places)
            yield Example(patches, str(digit), "scikit-learn's digits", i)


def _sklearn() -> tuple[str, Any]:
    """(version, what loads the digits). UserError where it is not installed."""
    try:
        import sklearn
        from sklearn.datasets import load_digits
    except ImportError:
        raise lacking("data", "digits needs the package scikit-learn", "sklearn") from None
    return sklearn.__version__, load_digits
