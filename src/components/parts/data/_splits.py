"""The rows of the user's own tables, by the split that they are for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from components.corpus.contents import hash_of
from components.parts.data._files import TABLES, files_of
from components.parts.data._tables import Layout, Row, rows_of


class Tables:
    """Up to three sets of files. Rows of ``path`` are for training where ``validation_path`` is given; else a hash decides.

    Args:
        path: a file, a folder or a pattern.
        validation_path: likewise, for validation.
        test_path: likewise, for the test.
        layout: of the tables among them.
    """

    def __init__(self, path: str, validation_path: str | None, test_path: str | None, layout: Layout) -> None:
        own = None if validation_path is None else "train"
        given = [(own, path), ("validation", validation_path), ("test", test_path)]
        self.paths = [(split, os.path.expanduser(p)) for split, p in given if p is not None]
        self.layout = layout

    def files(self) -> Iterator[tuple[str | None, Path]]:
        """(split or None, file), in order."""
        for split, path in self.paths:
            yield from ((split, f) for f in files_of(path, TABLES, "table"))

    def rows(self, columns: Sequence[str] = ()) -> Iterator[tuple[str | None, Row]]:
        """(split or None, row) of every file; ``columns``: those that are wanted."""
        for split, file in self.files():
            yield from ((split, row) for row in rows_of(file, columns, self.layout))

    def fingerprint(self) -> list[object]:
        """What a source's own fingerprint has of them."""
        files = list(self.files())
        held = [self.layout.columns, self.layout.quotes, [split for split, _ in files]]
        return [*held, hash_of(f.resolve() for _, f in files)]
