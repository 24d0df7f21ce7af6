"""All runs of all studies lie in one folder, each under the hash of what it is, so that no study trains what another one has trained."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from components.compose.jobs import ended_by, last_lines, last_words, read_figures
from components.core import registry
from components.core.config_types import Config, part_name
from components.core.errors import UserError
from components.core.files import read_json
from components.core.publishing import remove
from components.runs.metrics_file import MFU, SECONDS, SPEED, STEP, VAL_LOSS, read_rows
from components.runs.run_files import DONE
from components.runs.run_folder import last_of
from components.studies.study import Speed
from components.training.lock import Lock

ELSEWHERE = ("paths", "logger", "components", "recipe", "resume")  # they change nothing of what is trained
OF_SPEED = (SECONDS, SPEED, MFU)
PIECE = 2**20


def key(config: Config) -> str:
    """The name of a run's folder: a hash of its config, the version of this package, and the data that the config names as files."""
    said = {k: deepcopy(v) for k, v in config.items() if k not in ELSEWHERE}
    _stamp(said["data"])
    text = json.dumps([config.get("components", {}).get("version"), said], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def _stamp(node: object) -> None:
    """In place of each path of a data part, its content: a file's bytes, or names, sizes and times of a folder's files."""
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _stamp(child)
    if not isinstance(node, dict) or "name" not in node:
        return
    options = registry.entry("data", part_name(node)).signature.options
    for name in (n for n in node if n in options and "path" in options[n].type.bases and isinstance(node[n], str)):
        path = Path(node[name])
        if path.is_file():
            node[name] = _digest(path)
        elif path.is_dir():
            files = sorted(f for f in path.rglob("*") if f.is_file())
            node[name] = [(str(f.relative_to(path)), f.stat().st_size, f.stat().st_mtime_ns) for f in files]


def _digest(file: Path) -> str:
    held = hashlib.blake2b(digest_size=16)
    with file.open("rb") as stream:
        while piece := stream.read(PIECE):
            held.update(piece)
    return held.hexdigest()


def is_done(folder: Path) -> bool:
    return read_figures(folder).get("state") in DONE


def begin_again(folder: Path) -> list[str] | None:
    """The words with which an unfinished run goes on, None where it begins anew: then what is left of it is removed."""
    if (folder / "run.json").exists() and os.path.lexists(last_of(folder)):
        return [f"resume={folder}"]
    remove(folder)
    return None


def wait_for(folder: Path) -> bool:
    """Wait while another process trains in the folder: another study, or what a killed one has left. Returns whether there was one."""
    waited = False
    while folder.is_dir():
        try:
            Lock(folder).release()
        except UserError:
            waited = True
            time.sleep(0.5)
        else:
            break
    return waited


def figures_of(folder: Path) -> dict[str, float | None]:
    """The final figures that do not depend on how fast the machine is."""
    held = {n: v for n, v in read_figures(folder).items() if n not in OF_SPEED}
    return {n: v for n, v in sorted(held.items()) if v is None or (isinstance(v, (int, float)) and not isinstance(v, bool))}


def curve_of(folder: Path, *metrics: str) -> dict[str, list[float | None]]:
    """Steps at which the run was validated, and what was found there."""
    file, shown = folder / "metrics.csv", [*dict.fromkeys((VAL_LOSS, *metrics))]
    rows = [r for r in read_rows(file) if any(r.get(n) is not None for n in shown)] if file.exists() else []
    return {
        n: [_finite(r.get(n)) for r in rows] for n in (STEP, *shown) if n == STEP or any(r.get(n) is not None for r in rows)
    }


def error_of(folder: Path) -> str:
    """The last line that tells why a run failed, without the place where it lies."""
    code = read_json(folder / "job.json").get("exit_code", 1) if (folder / "job.json").exists() else 1
    told = ended_by(code) if code < 0 else last_words(last_lines(folder / "output.txt")) or "it left no word"
    return told.replace(str(folder), "the run").replace(os.getcwd() + os.sep, "")


def speed_of(run: tuple[str, int], folder: Path) -> Speed:
    """Seconds of training, tokens a second, and the most memory, as far as they are known. ``run``: its variant and seed."""
    figures, file = read_figures(folder), folder / "job.json"
    job: Mapping[str, Any] = read_json(file) if file.exists() else {}
    return Speed(*run, figures.get(SECONDS), figures.get(SPEED), job.get("peak_bytes"))


def seconds_per_step(folder: Path) -> float:
    """Of the steps after the first logged one, which pays for the start."""
    rows = [r for r in read_rows(folder / "metrics.csv") if r[SECONDS] is not None]
    first, last = rows[0], rows[-1]
    steps = (last[STEP] or 0) - (first[STEP] or 0)
    if steps <= 0:
        return float(last[SECONDS] or 0.0) / max(1.0, float(last[STEP] or 1))
    return (float(last[SECONDS] or 0.0) - float(first[SECONDS] or 0.0)) / steps


def start_up(folder: Path) -> float:
    """Seconds of the process that are no steps: imports, data, validations, samples."""
    file = folder / "job.json"
    whole = read_json(file)["seconds"] if file.exists() else 0.0
    return max(0.0, float(whole) - float(read_figures(folder).get(SECONDS) or 0.0))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
