"""``--multirun``: Hydra's sweeper expands the overrides, its launcher (ours by default) starts the jobs, and the results are collected."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.compose.grammar import TARGET, Argument, in_quotes, literal_path
from components.compose.jobs import JobResult, hydra_job, results_of
from components.compose.request import BEGINNINGS, RECIPE, Request
from components.compose.settings import PATHS
from components.core import registry, terminal, threads
from components.core.errors import UserError
from components.core.extras import HYDRA

AT_A_TIME = ("n_jobs", "array_parallelism")  # the number of jobs at a time: joblib's launcher's word and ours, and submitit's
_SWEEP = re.compile(r"(choice|glob|range|interval|shuffle|sort|tag)\(")


def multirun(
    recipe: str | None, overrides: Sequence[str], *, cwd: Path | None = None, job: Callable[[Any], float] = hydra_job
) -> list[JobResult]:
    """Run every combination that the overrides sweep over, each in its own process.

    A job that fails stops no other; its ``exit_code`` says it. All combinations are composed before the first job starts.

    Args:
        recipe: a recipe's name; ``recipe=`` among the overrides says the same.
        overrides: with sweeps (``model/norm=rms,layer seed=1,2``) and Hydra's own (``hydra/launcher=joblib``).
        cwd: what relative paths are relative to.
        job: what Hydra's own launchers (joblib, submitit) call.

    Raises:
        UserError: an override that Hydra's grammar does not read, or a combination that does not compose.
    """
    from components.compose.hydra_loader import LAUNCHER, QUIET
    from components.compose.hydra_sweep import sweep

    folder = Path(cwd or Path.cwd()).absolute()
    request = Request.of(overrides, recipe)
    own = [*request.hydra]
    arguments = sorted(request.arguments, key=lambda a: a.path[0] != RECIPE)  # jobs are numbered by the recipe first
    task = [quoted(a, folder, arguments) for a in arguments]
    for o in own:
        if TARGET in o:
            raise UserError(
                repr(o), f"{TARGET} names code, and a config is data", "name a launcher or a sweeper: hydra/launcher=..."
            )
    given = {o.lstrip("+~").split("=")[0] for o in own}
    place = _folder(own, request.path(f"{PATHS}.runs") or "runs", folder)
    own = [o for o in own if not o.startswith("hydra.sweep.dir=")] + [f"hydra.sweep.dir={in_quotes(str(place))}"]
    for default in (LAUNCHER, *QUIET, "hydra.sweep.subdir=${hydra.job.num}", "hydra.job.chdir=false"):
        if default.split("=")[0] not in given:
            own.append(default)
    began = time.time()
    with _told("--multirun"), threads.of_each(_threads_of_each(request.hydra, folder)):
        returned = sweep([*own, *task], folder, job)
    return results_of(returned, place, began)


def run_jobs(
    jobs: Mapping[str, Sequence[str]], place: Path, own: Sequence[str] = (), *, cwd: Path | None = None, silent: bool = False
) -> list[JobResult]:
    """Run jobs that are no product of sweeps, each in its own process, by the same launchers. A job that fails stops no other.

    Args:
        jobs: {name of its folder: its overrides}.
        place: where the folders are.
        own: Hydra's own words (``hydra/launcher=joblib``).
        cwd: what relative paths are relative to.
        silent: our launcher prints no line for each job.

    Raises:
        UserError: a launcher that is not there, or a job that does not compose.
    """
    from components.compose.hydra_loader import LAUNCHER, QUIET
    from components.compose.hydra_sweep import launch

    ours = [LAUNCHER, "hydra.launcher.quiet=true", f"hydra.launcher.silent={str(silent).lower()}"]
    launcher = [] if any(o.startswith("hydra/launcher=") for o in own) else ours
    where = [f"hydra.sweep.dir={in_quotes(str(place.absolute()))}", "hydra.sweep.subdir=each"]
    words = [[f"hydra.sweep.subdir={name}", *overrides] for name, overrides in jobs.items()]
    began = time.time()
    with _told("launcher"):
        returned = launch([*launcher, *own, *where, *QUIET, "hydra.job.chdir=false"], words, cwd or Path.cwd(), hydra_job)
    return results_of(returned, place, began)


@dataclass(frozen=True)
class Launching:
    """A launcher for jobs that are known one by one.

    Args:
        words: Hydra's own, as ``run_jobs`` takes them.
        here: processes at a time, as far as that is known.
    """

    words: tuple[str, ...]
    here: int


def launching(name: str | None, jobs: int | None, cwd: Path) -> Launching:
    """A launcher that starts so many jobs at a time.

    Args:
        name: Hydra's name of one; None: ours.
        jobs: None leaves it to the launcher; one that would take every core of this machine is told their number.
        cwd: where a launcher's config may be.

    Raises:
        UserError: a launcher that is not there, or one that has no such number.
    """
    if jobs is not None and jobs < 1:
        raise UserError("jobs", f"{jobs!r} is no whole number above 0", "give 1, or as many as there are processors")
    if name is None:
        return Launching((f"hydra.launcher.{AT_A_TIME[0]}={jobs}",) if (jobs or 1) > 1 else (), jobs or 1)
    options = _options(name, cwd)
    own, chosen = next((n for n in AT_A_TIME if n in options), None), f"hydra/launcher={name}"
    if own is None and (jobs or 1) > 1:
        raise UserError("jobs", f"the launcher {name} cannot be told how many processes run at a time", "leave jobs= out")
    if jobs is None and own == AT_A_TIME[0]:
        jobs = _of_cores(options[own])
    return Launching((chosen,) if own is None or jobs is None else (chosen, f"hydra.launcher.{own}={jobs}"), jobs or 1)


def _options(name: str, cwd: Path) -> dict[str, object]:
    from components.compose.hydra_sweep import launcher_options

    with _told("launcher"):
        return launcher_options(name, cwd)


def _of_cores(n_jobs: object) -> int | None:
    """How many ``n_jobs`` are on this machine: -1 is one for each core, -2 one less; None where it cannot be told."""
    if isinstance(n_jobs, str) and re.fullmatch(r"-?\d+", n_jobs):
        n_jobs = int(n_jobs)
    if not isinstance(n_jobs, int) or n_jobs == 0:
        return None
    return n_jobs if n_jobs > 0 else max(1, threads.cores() + 1 + n_jobs)


def _threads_of_each(own: Sequence[str], cwd: Path) -> int | None:
    """A share of the cores for each of several jobs at a time on this machine, told; None where one job has them all, or others start them."""
    said = {o.lstrip("+~").partition("=")[0]: o.partition("=")[2] for o in own}
    name, key = said.get("hydra/launcher"), f"hydra.launcher.{AT_A_TIME[0]}"
    untold = {} if name is None or key in said else _options(name, cwd)
    jobs = _of_cores(said.get(key, untold.get(AT_A_TIME[0])))
    if jobs is None or jobs == 1:
        return None
    each = max(1, threads.cores() // jobs)
    terminal.tell(f"{jobs} jobs at a time, {threads.shown(each)} each ({key}=N takes another number)")
    return each


@contextmanager
def _told(where: str) -> Iterator[None]:
    """What Hydra refuses, in one line."""
    from hydra.errors import HydraException

    try:
        yield
    except HydraException as e:
        if isinstance(e.__cause__, UserError):
            raise e.__cause__ from None
        said = str(e).partition("Config search path")[0]
        wanted = [package for choice, package in HYDRA.items() if f"'{choice}'" in said]
        raise UserError(where, " ".join(said.split()), *(f"pip install {package}" for package in wanted)) from None


def _folder(own: list[str], runs: str, cwd: Path) -> Path:
    """``hydra.sweep.dir`` as given, else ``<runs>/multirun/<time>``."""
    for o in own:
        if o.startswith("hydra.sweep.dir="):
            return cwd / literal_path(o.partition("=")[2], cwd)
    sweeps = cwd / literal_path(runs, cwd) / "multirun"
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    for i in range(1, 1000):
        folder = sweeps / (stamp if i == 1 else f"{stamp}_{i}")
        if not folder.exists():
            return folder
    raise UserError("paths.runs", f"{sweeps} has a thousand sweeps of this second")


def quoted(argument: Argument, cwd: Path, others: Sequence[Argument] = ()) -> str:
    """The word for Hydra's sweepers, which parse every value: a path is absolute and in quotes. A list of files that exist is a sweep over them.

    ``others``: the other arguments; if they choose the part, its own signature says whether the option is a path.
    """
    if argument.text is None or not is_path(argument.path, others) or argument.text == "null" or _SWEEP.match(argument.text):
        return argument.typed
    if argument.path[0] in (*BEGINNINGS, PATHS):  # a name or a path: as it was typed
        plain = re.fullmatch(r"[\w./,:-]+", argument.text)
        return argument.typed if plain else f"{argument.sign}{argument.key}={in_quotes(argument.text)}"
    texts = [argument.text]
    if "," in argument.text and not Path(literal_path(argument.text, cwd)).exists():
        pieces = argument.text.split(",")
        if all(Path(literal_path(p, cwd)).exists() for p in pieces):
            texts = pieces
    return f"{argument.sign}{argument.key}=" + ",".join(in_quotes(literal_path(t, cwd)) for t in texts)


def is_path(path: tuple[str, ...], others: Sequence[Argument] = ()) -> bool:
    """Whether what stands at ``path`` is an option that holds a path: of the parts that ``others`` choose there, else of any."""
    if path[0] in BEGINNINGS or (path[0] == PATHS and len(path) == 2):
        return True
    if len(path) < 2:
        return False
    chosen = {w for a in others if a.path == path[:-1] for w in re.findall(r"\w+", a.text or "")}
    kinds = [path[0]] if len(path) == 2 else list(registry.kinds())
    entries = [e for kind in kinds for e in registry.entries(kind).values() if not chosen or e.name in chosen]
    return any("path" in e.signature.options[path[-1]].type.bases for e in entries if path[-1] in e.signature.options)
