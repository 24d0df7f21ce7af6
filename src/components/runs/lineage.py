"""What a run has read and left, by content: its data, a checkpoint, what was exported from it. A tracker shows how they hang together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from components.runs.run_files import DataOf, read_about

DATA, MODEL = "dataset", "model"


@dataclass(frozen=True)
class Link:
    """One thing in the chain.

    Args:
        name: equal for versions of the same thing.
        kind: ``dataset`` or ``model``.
        facts: equal if and only if the thing is; no place where it lies.
    """

    name: str
    kind: str
    facts: Mapping[str, object]


def data_of(folder: Path) -> Link:
    """The data of the run in ``folder``."""
    held = _data(folder)
    return Link(f"data-{held['hash'][:16]}", DATA, {"hash": held["hash"], "report": held["report"]})


def checkpoint_of(folder: Path, checkpoint: Path, run: str) -> Link:
    """A checkpoint of the run in ``folder``, which the tracker knows as ``run``."""
    return Link(f"model-{run}", MODEL, {"files": sums(checkpoint), "data": _data(folder)["hash"]})


def export_of(folder: Path, checkpoint: Path, to: Path, run: str) -> Link:
    """What was written to ``to`` from a checkpoint of the run in ``folder``."""
    made_from = checkpoint_of(folder, checkpoint, run).facts
    return Link(f"export-{run}", MODEL, {"files": sums(to), "checkpoint": made_from["files"], "data": made_from["data"]})


def _data(folder: Path) -> DataOf:
    # a model that came from elsewhere has read what nobody here knows
    return read_about(folder).get("data") or {"hash": "unknown", "report": []}


def sums(place: Path) -> dict[str, str]:
    """{file: its SHA-256} of a file, or of all files in a folder."""
    found = sorted(f for f in place.rglob("*") if f.is_file()) if place.is_dir() else [place]
    return {str(f.relative_to(place)) if place.is_dir() else f.name: _sum(f) for f in found}


def _sum(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
