"""Rows of a Hugging Face data set, from the hub or local; needs the extra ``data``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

from components.core.errors import UserError, nearest
from components.core.extras import lacking
from components.core.options import Options
from components.corpus.contents import hash_of
from components.parts.data._tables import Row

BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet", ".txt": "text", ".arrow": "arrow"}


@dataclass(frozen=True)
class HubPart:
    """The rows ``start`` to before ``stop`` of a split; the file ``start`` of ``files`` where it is read over the network."""

    start: int
    stop: int
    files: int = 0


class Hub:
    """A data set by its name on the hub, its folder or its file.

    A hub data set is taken to stay as it is under its name and revision.

    Args:
        path: a hub id, a folder (of data files, or made by ``save_to_disk``), or a data file.
        subset: the configuration, where a data set has several.
        revision: a commit or tag of the hub's repository.
        streaming: read over the network without storing the data set.
    """

    def __init__(self, path: str, subset: str | None, revision: str | None, streaming: bool) -> None:
        self.path, self.subset, self.revision, self.streaming = os.path.expanduser(path), subset, revision, streaming

    def fingerprint(self) -> list[Any]:
        """What a source's own fingerprint has of it."""
        given = File(self.path)
        if given.exists():
            files = [given] if given.is_file() else sorted(f for f in given.rglob("*") if f.is_file())
            return [self.subset, hash_of(f.resolve() for f in files)]
        return [self.subset, self.path, self.revision]

    def rows(
        self, splits: dict[str, str | None], columns: Sequence[str] = (), part: HubPart | None = None
    ) -> Iterator[tuple[str | None, Row]]:
        """(what a split is for, row) of every split of the data set that is named.

        Args:
            splits: {its name: train, validation, test, or None where a hash decides}.
            columns: those that are wanted; without them all.
            part: of each split this part alone.
        """
        for name, use in splits.items():
            found, first, place = self.load(name), 0, f"{self.path}[{name}]"
            if part is not None and part.files:
                found, place = found.shard(part.files, part.start), f"{place}[file {part.start}]"
            elif part is not None:
                found, first = found.select(range(part.start, part.stop)), part.start
            from datasets import ClassLabel  # ``load`` has found the package

            wanted = list(dict.fromkeys(c.split(".")[0] for c in columns))
            if columns and set(wanted) <= set(found.column_names or ()):
                found = found.select_columns(wanted)
            decode = {n: f for n, f in (found.features or {}).items() if isinstance(f, ClassLabel)}
            for i, cells in enumerate(found, first):
                for column, label in decode.items():
                    if isinstance(cells[column], int):  # a label's number; -1 where it is not known
                        cells[column] = label.int2str(cells[column]) if cells[column] >= 0 else None
                yield use, Row(cells, f"{place}[{i}]", padded=True)

    def parts(self, split: str, size: int) -> list[HubPart | None]:
        """A split in parts of about ``size`` bytes; what is read over the network, by its files. [None]: it does not divide."""
        found = self.load(split)
        if self.streaming:
            files = int(found.num_shards)
            return [HubPart(i, i + 1, files) for i in range(files)] if files > 1 else [None]
        count, held = len(found), int(found.data.nbytes)
        each = max(1, count * size // max(1, held))
        return [HubPart(i, min(i + each, count)) for i in range(0, count, each)] if each < count else [None]

    def labels(self, split: str, column: str) -> tuple[str, ...]:
        """The names of a column's labels in their order; empty where the data set does not know them."""
        found = (self.load(split).features or {}).get(column)
        from datasets import ClassLabel  # ``load`` has found the package

        return tuple(found.names) if isinstance(found, ClassLabel) else ()

    def load(self, split: str) -> Any:
        """The data set. UserError if it does not exist or cannot be reached."""
        try:
            import datasets
            from datasets.exceptions import DatasetsError
        except ImportError as e:
            raise lacking("data", f"the package datasets is needed ({e})", "datasets") from None
        given = File(self.path)
        try:
            if (given / "state.json").is_file() or (given / "dataset_dict.json").is_file():
                found = datasets.load_from_disk(self.path)
                return found[split] if isinstance(found, datasets.DatasetDict) else found
            if given.is_file():
                if given.suffix not in BUILDERS:
                    raise UserError(
                        "data.path",
                        f"{given} is no data file that is known",
                        nearest(given.suffix, BUILDERS, called="suffixes"),
                    )
                return datasets.load_dataset(
                    BUILDERS[given.suffix], data_files=self.path, split=split, streaming=self.streaming
                )
            return datasets.load_dataset(self.path, self.subset, split=split, revision=self.revision, streaming=self.streaming)
        except (OSError, ValueError, KeyError, RuntimeError, DatasetsError) as e:
            # no network, no such data set, configuration or split, a damaged file: the library says which
            if isinstance(e, UserError):
                raise
            raise UserError(f"data.path={self.path}", " ".join(str(e).split()) or type(e).__name__) from None


class FromHub(Options):
    """A source that reads a data set of Hugging Face's.

    Args:
        path: a hub id, a folder (of data files, or made by ``save_to_disk``), or a data file.
        subset: the configuration, where a data set has several.
        split: which split to learn from; slices such as ``train[:1%]`` work.
        revision: a commit or tag of the hub's repository.
        streaming: read over the network without storing the data set.
    """

    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    streaming: bool = False

    def __init__(self, *, path: str) -> None:
        self.hub = Hub(path, self.subset, self.revision, self.streaming)


class ExamplesFromHub(FromHub):
    """A source of examples, which a data set may hold out itself.

    Args:
        validation_split: which split to validate on; null: a share of ``split``, drawn by a hash.
        test_split: which split to test on, likewise.
    """

    validation_split: str | None = None
    test_split: str | None = None

    @property
    def splits(self) -> dict[str, str | None]:
        """{its name: what each split is for}: ``split`` for training where there is one to validate on, else a hash decides."""
        first = None if self.validation_split is None else "train"
        uses = [(self.split, first), (self.validation_split, "validation"), (self.test_split, "test")]
        return {name: use for name, use in uses if name is not None}
