"""A text column of a Hugging Face data set: from the hub, or a local folder or file; needs the extra ``data``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path as File
from typing import Any

from components.corpus.document import Document
from components.corpus.store import key_of, stamp_of
from components.errors import UserError, nearest
from components.registry import register

BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet", ".txt": "text", ".arrow": "arrow"}


@register("data", "hf")
class HF:
    """A text column of a Hugging Face data set, from the hub or local; each row is a document.

    A hub data set is taken to stay as it is under its name and revision: give a revision where that matters.

    Args:
        path: a hub id (``roneneldan/TinyStories``), a folder (of data files, or made by ``save_to_disk``), or a data file.
        subset: the configuration, where a data set has several.
        split: which split to read; slices such as ``train[:1%]`` work.
        field: the column that holds the text.
        revision: a commit or tag of the hub's repository.
        streaming: read over the network without storing the data set.
    """

    provides = ("text",)

    def __init__(
        self,
        *,
        path: str,
        subset: str | None = None,
        split: str = "train",
        field: str = "text",
        revision: str | None = None,
        streaming: bool = False,
    ) -> None:
        self.path, self.subset, self.split, self.field = os.path.expanduser(path), subset, split, field
        self.revision, self.streaming = revision, streaming
        self.notes: list[str] = []

    def fingerprint(self) -> str:
        held = [self.subset, self.split, self.field]
        given = File(self.path)
        if given.exists():
            files = [given] if given.is_file() else sorted(f for f in given.rglob("*") if f.is_file())
            return key_of("hf", *held, stamp_of(f.resolve() for f in files))
        return key_of("hf", self.path, self.revision, *held)

    def documents(self) -> Iterator[Document]:
        rows = self._load()
        if rows.column_names is not None and self.field not in rows.column_names:
            raise UserError(
                "data.field",
                f"{self.path} has no column {self.field!r}",
                nearest(self.field, rows.column_names, called="columns"),
            )
        for i, row in enumerate(rows.select_columns([self.field])):
            text = row[self.field]
            if text is not None and not isinstance(text, str):
                raise UserError(
                    "data.field", f"column {self.field!r} of {self.path} holds no text but {type(text).__name__} (row {i})"
                )
            yield Document(text or "", f"{self.path}[{self.split}][{i}]")

    def _load(self) -> Any:
        try:
            import datasets
        except ImportError as e:
            raise UserError(
                "data", f"hf needs the package datasets ({e})", "pip install 'lightning-components[data]'"
            ) from None
        given = File(self.path)
        try:
            if (given / "state.json").is_file() or (given / "dataset_dict.json").is_file():
                found = datasets.load_from_disk(self.path)
                return found[self.split] if isinstance(found, datasets.DatasetDict) else found
            if given.is_file():
                if given.suffix not in BUILDERS:
                    raise UserError(
                        "data.path",
                        f"{given} is no data file that is known",
                        nearest(given.suffix, BUILDERS, called="suffixes"),
                    )
                return datasets.load_dataset(
                    BUILDERS[given.suffix], data_files=self.path, split=self.split, streaming=self.streaming
                )
            return datasets.load_dataset(
                self.path, self.subset, split=self.split, revision=self.revision, streaming=self.streaming
            )
        except (OSError, ValueError, KeyError, RuntimeError, datasets.exceptions.DatasetsError) as e:
            # no network, no such data set, configuration or split, a damaged file: the library says which
            if isinstance(e, UserError):
                raise
            raise UserError(f"data.path={self.path}", " ".join(str(e).split()) or type(e).__name__) from None
