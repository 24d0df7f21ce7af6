"""Read what wandb wrote offline: LevelDB log blocks of records after a seven-byte header. Pinned to wandb's format, for tests only."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, 7  # crc (4), length (2), type (1): whole, first, middle, last


@dataclass
class Written:
    history: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[str] = field(default_factory=list)
    links: list[tuple[str, str, dict[str, Any]]] = field(
        default_factory=list
    )  # ("read" or "left", name, metadata) of each artifact
    job: str = ""
    name: str = ""
    group: str = ""
    tags: list[str] = field(default_factory=list)
    exit_code: int | None = None
    folder: Path = Path()

    @property
    def run_id(self) -> str:
        return run_id(self.folder)

    def table(self, name: str) -> dict[str, Any]:
        """The newest table of that name: {"columns": [...], "data": [...]}."""
        path = [h[name]["path"] for h in self.history if name in h][-1]
        return json.loads((self.folder / "files" / path).read_text())


def run_id(folder: Path) -> str:
    """The name of the file says it: that of the folder ends with a count where two runs begin in one second."""
    (file,) = folder.glob("run-*.wandb")
    return file.stem.removeprefix("run-")


def records(file: Path) -> Iterator[bytes]:
    data = file.read_bytes()
    assert data[:4] == b":W&B"
    at, parts = HEADER, b""
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        part = data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        parts = part if kind in (1, 2) else parts + part
        if kind in (1, 4):
            yield parts


def read_all(run: Path) -> list[Written]:
    """All that W&B wrote offline in the folder of a run, in the order in which it was ended.

    Names of folders say the second and then a random id: two that begin in one second stand in no order.
    """
    files = sorted(run.glob("wandb/offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime_ns)
    return [read(file.parent) for file in files]


def read(folder: Path) -> Written:
    """``folder``: one ``offline-run-*``."""
    from wandb.proto import wandb_internal_pb2 as pb

    out = Written(folder=folder)
    for raw in records(next(folder.glob("*.wandb"))):
        record = pb.Record()
        record.ParseFromString(raw)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            out.history.append(nested(record.history.item))
        elif kind == "run":
            put(out.config, record.run.config.update)
            out.job = out.job or record.run.job_type
            out.name, out.group = out.name or record.run.display_name, out.group or record.run.run_group
            out.tags = out.tags or [*record.run.tags]
        elif kind == "config":
            put(out.config, record.config.update)
        elif kind == "summary":
            put(out.summary, record.summary.update)
        elif kind == "artifact":
            out.artifacts.append(record.artifact.type)
            used = "read" if record.artifact.use_after_commit else "left"
            out.links.append((used, record.artifact.name, json.loads(record.artifact.metadata or "{}")))
        elif kind == "exit":
            out.exit_code = record.exit.exit_code
    return out


def nested(items: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    put(out, items)
    return out


def put(out: dict[str, Any], items: Any) -> None:
    for item in items:
        keys = list(item.nested_key) or [item.key]
        place = out
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = json.loads(item.value_json)
