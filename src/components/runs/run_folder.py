"""A run's folder ``runs/<recipe>/<time>/``: created by the first rank, found again by name, time or checkpoint."""

from __future__ import annotations

import errno
import math
import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

from components import __version__
from components.core import files
from components.core.config_types import Config
from components.core.errors import UserError, nearest
from components.core.files import make_folder, read_text, write_text
from components.core.publishing import held
from components.core.terminal import readable
from components.runs.run_files import read_about

FOLDER = "COMPONENTS_RUN_FOLDER"  # the first rank sets it for the ranks that it starts
JOB_FOLDER = "COMPONENTS_JOB_FOLDER"  # a sweep sets it: the folder of this run exists already
PLAN = "plan.json"  # a folder with it is a checkpoint in shards
FOREIGN_PLAN = ".metadata"  # a folder with it was written by torch.distributed.checkpoint alone
STUDIES = "studies"  # below the folder of runs: the studies
OF_STUDIES = f"{STUDIES}/runs"  # and the runs that they share, each under the hash of what it is
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK", "GROUP_RANK")


def rank() -> int:
    """This process's rank, before Lightning has set anything up."""
    given = {name: int(os.environ[name]) for name in RANKS if os.environ.get(name, "").isdigit()}
    if "RANK" in given:
        return given["RANK"]
    of_node = given.get("LOCAL_RANK", given.get("SLURM_PROCID", 0))
    return of_node or given.get("NODE_RANK", given.get("GROUP_RANK", 0))  # the first process of another node is not rank 0


def require_place(runs: Path) -> None:
    """UserError where no run's folder can be made in ``runs``. It looks and writes nothing, so it is asked before any data are read.

    Asked of the first rank alone, as it is the one that writes, and of no job of a sweep, which has its folder already.
    """
    if rank() or os.environ.get(JOB_FOLDER):
        return
    near = next(place for place in (runs.absolute(), *runs.absolute().parents) if place.exists())
    if not near.is_dir() or not os.access(near, os.W_OK | os.X_OK):
        raise _no_place(runs, os.strerror(errno.EACCES if near.is_dir() else errno.ENOTDIR))


def _no_place(folder: Path, why: str | None) -> UserError:
    return UserError("paths.runs", f"{folder} cannot be made ({why})", "set paths.runs to a folder that can be written")


def new_folder(runs: Path, recipe: str) -> Path:
    """Create ``runs/<recipe>/<time>``. Two runs of the same second get different folders. A job of a sweep has its folder already."""
    if os.environ.get(JOB_FOLDER):
        folder = Path(os.environ[JOB_FOLDER])
        make_folder(folder / "checkpoints")
        return folder
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    named = readable(
        recipe, "_"
    )  # a recipe's file name may hold any bytes, but PyTorch reads only from folders with valid names
    for i in range(1, 1000):
        folder = runs / named / (stamp if i == 1 else f"{stamp}_{i}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as e:
            raise _no_place(folder, e.strerror) from None
        make_folder(folder / "checkpoints")
        return folder
    raise UserError("paths.runs", f"{runs / recipe} has a thousand runs of this second")


def write_start(folder: Path, config: Config, difference: list[str], about: Mapping[str, object]) -> None:
    """Write config.yaml and run.json. The difference from the recipe goes into both, as comments on top of the config."""
    write_config(folder, config, difference)
    write_json(folder / "run.json", {**about, "difference": difference})


def write_config(folder: Path, config: Config, difference: list[str]) -> None:
    lines = [f"# components {__version__}", *(f"# difference: {line}" for line in difference)]
    text = "\n".join(lines) + "\n" + yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=120)
    write_text(folder / "config.yaml", text)


def note_resumed(folder: Path, config: Config, difference: list[str], about: Mapping[str, object], step: int) -> None:
    """Write the changed config, and add this resumption to the list in run.json.

    Samples of steps after the checkpoint are cut, as rows of metrics.csv are: these steps will be taken again.
    """
    known = read_about(folder)
    write_config(folder, config, [*known.get("difference", []), *(f"{line} (resumed at step {step})" for line in difference)])
    samples = folder / "samples.txt"
    if samples.exists():
        pieces = re.split(r"(?m)^(?==== step \d+, sample \d+ ===$)", read_text(samples, errors="replace"))
        kept = [p for p in pieces if (found := re.match(r"=== step (\d+),", p)) is None or int(found[1]) <= step]
        write_text(samples, "".join(kept))
    again = {
        "step": step,
        "difference": difference,
        **{n: about[n] for n in ("began", "command", "versions", "git", "total_steps")},
    }
    write_json(folder / "run.json", {**known, "resumed": [*known.get("resumed", []), again]})


def write_json(file: Path, content: Mapping[str, object]) -> None:
    """Write JSON; nan and inf, which JSON does not have, become null."""
    files.write_json(file, _plain(content))


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("lightning-components", "torch", "lightning", "hydra-core", "numpy", "tokenizers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_state(folder: Path) -> dict[str, str | bool] | None:
    """{commit, changed: whether tracked files differ} of the git repository around ``folder``; None outside a repository."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return None if commit is None else {"commit": commit, "changed": bool(git("status", "--porcelain", "--untracked-files=no"))}


def all_runs(runs: Path) -> list[Path]:
    """Run folders, oldest first. Those with a damaged run.json come before all others."""
    return sorted((f.parent for f in runs.glob("**/run.json")), key=_began)


def _began(folder: Path) -> float:
    try:
        return float(read_about(folder)["began"])
    except UserError:
        return 0.0


def find_run(name: str, runs: Path) -> tuple[Path, Path | None]:
    """(run folder, checkpoint or None) of ``name``: a folder, a checkpoint, ``<recipe>/<time>``, a time, or ``auto``.

    ``auto`` is the newest run with a checkpoint that somebody has started: those that a study has made are taken by their names.

    Raises:
        UserError: nothing fits, or several runs do.
    """
    path = held(Path(name).expanduser())
    if path.is_file() or any(os.path.lexists(path / plan) for plan in (PLAN, FOREIGN_PLAN)):
        folder = path.parent.parent
        return (folder if (folder / "run.json").exists() else path.parent), path
    if (path / "run.json").exists():
        return path, None
    known = all_runs(runs)
    if name == "auto":
        known = [f for f in known if last_of(f).exists()]
        own = [f for f in known if f.parent != runs / OF_STUDIES]
        if known and not own:
            raise UserError("auto", f"no run with a checkpoint in {runs} but those of studies", f"name one: {known[-1]}")
        if not own:
            raise UserError("auto", f"no run with a checkpoint in {runs}", "start one with components train recipe=NAME")
        return own[-1], None
    fitting = [f for f in known if f == runs / name or f.name == name] or [f for f in known if f.name.startswith(name)]
    if len(fitting) == 1:
        return fitting[0], None
    if fitting:
        raise UserError(name, "several runs fit", ", ".join(str(f) for f in fitting))
    raise UserError(
        name,
        f"no such run or checkpoint (looked here and in {runs})",
        nearest(name, [str(f.relative_to(runs)) for f in known], called="runs"),
    )


def last_of(folder: Path) -> Path:
    """The run's last checkpoint, which may not be there."""
    return held(folder / "checkpoints" / "last.ckpt")


def checkpoint_of(folder: Path, *, best: bool) -> Path:
    """The best checkpoint by validation, or the last one (``best`` says which is preferred)."""
    for name in ("best.ckpt", "last.ckpt") if best else ("last.ckpt", "best.ckpt"):
        if (file := held(folder / "checkpoints" / name)).exists():
            return file
    raise UserError(str(folder), "has no checkpoint", "the run ended before its first validation")
