"""``Building`` turns rows into arrays one by one, in memory or in a folder of the cache that is named by its content."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from components.core.errors import UserError
from components.core.files import make_folder, unwritable, write_text
from components.corpus.row import Form, Row, described
from components.corpus.row_arrays import FORM, RowArrays, codes, mapped, shaped
from components.corpus.store import Meta, build

AT_ONCE = 2**16  # numbers that wait in memory to be written


class Growing:
    """The numbers of one array while rows are added, in memory or in ``file``. ``code``: the type code of ``array.array``."""

    def __init__(self, code: str, file: BinaryIO | None = None) -> None:
        self.waiting, self.file, self.count = array(code), file, 0

    def add(self, numbers: Sequence[object]) -> None:
        self.waiting.extend(numbers)
        self.count += len(numbers)
        if self.file is not None and len(self.waiting) >= AT_ONCE:
            self.flush()

    def flush(self) -> None:
        if self.file is not None:
            try:
                self.file.write(self.waiting.tobytes())
                self.file.flush()
            except OSError as e:
                raise unwritable(self.file.name, e) from None
            del self.waiting[:]


class Building:
    """Rows that become ``RowArrays``, each forgotten once it is added.

    Args:
        folder: in the cache, shared between processes; None keeps the arrays in memory. Files are named by their content, so two
            processes that read the same rows map the same file, and no file is ever out of date.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder, self.form = folder, ("tokens", 1, False, 0)
        self.grown: dict[str, Growing] = {}
        self.temporary: Path | None = None

    def __enter__(self) -> Building:
        if self.folder is not None:
            try:
                make_folder(self.folder)
                self.temporary = Path(tempfile.mkdtemp(prefix="rows.tmp-", dir=self.folder))
            except OSError as e:
                raise unwritable(self.folder, e) from None
        return self

    def __exit__(self, *error: object) -> None:
        try:
            for one in self.grown.values():
                if one.file is not None:
                    with one.file:
                        if error[0] is None:
                            one.flush()
        except UserError:
            self.remove()
            raise
        if error[0] is not None:
            self.remove()

    def remove(self) -> None:
        if self.temporary is not None:
            shutil.rmtree(self.temporary, ignore_errors=True)

    def add(self, row: Row) -> None:
        """Add a row. ValueError if its form differs from the first row's."""
        form, width = row.form, row.form[3]
        if not self.grown:
            self.form = form
            self._begin()
        if form != self.form:
            raise ValueError(f"has {described(form)}, where those before it have {described(self.form)}")
        self._ragged("ids", row.ids)
        if isinstance(row.targets, int):
            self.grown["targets"].add((row.targets,))
        elif isinstance(row.targets, tuple):
            self.grown["targets"].add(row.targets)
        else:
            self._ragged("targets", row.targets)
        if row.source is not None:
            self._ragged("source", row.source)
        if row.values is not None:
            if len(row.values) != len(row.ids) or any(len(v) != width for v in row.values):
                raise ValueError(f"has positions without {width} numbers")
            for numbers in row.values:
                self.grown["values"].add(numbers)

    def _ragged(self, name: str, numbers: Sequence[int]) -> None:
        grown = self.grown[name]
        grown.add(numbers)
        self.grown[f"{name}.ends"].add((grown.count,))

    def _begin(self) -> None:
        for name, code in codes(self.form).items():
            file = None if self.temporary is None else (self.temporary / name).open("wb")
            self.grown[name] = Growing(code, file)

    def done(self) -> RowArrays:
        """The arrays; available after the ``with`` block."""
        if self.temporary is None or self.folder is None:
            arrays = {n: np.frombuffer(g.waiting, dtype=g.waiting.typecode) for n, g in self.grown.items()}
            return RowArrays(shaped(arrays, self.form), self.form)
        try:
            name = content_of(self.temporary, self.form)
            build(self.folder / name, self._fill)
            return mapped(self.folder / name)
        finally:
            self.remove()

    def _fill(self, folder: Path) -> Meta:
        assert self.temporary is not None
        for file in list(self.temporary.iterdir()):
            os.replace(file, folder / file.name)
        write_text(folder / FORM, json.dumps(self.form))
        return {}


def content_of(folder: Path, form: Form) -> str:
    """A name for the form and all numbers."""
    whole = hashlib.blake2b(json.dumps(form).encode(), digest_size=16)
    for name in codes(form):
        with (folder / name).open("rb") as f:
            whole.update(hashlib.file_digest(f, hashlib.blake2b).digest())
    return whole.hexdigest()


def arrays_of(rows: Iterable[Row]) -> RowArrays:
    """In memory."""
    with Building() as made:
        for row in rows:
            made.add(row)
    return made.done()
