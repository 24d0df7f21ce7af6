"""``--multirun``: Hydra's sweeper expands the overrides, its launcher (ours by default) starts the jobs, and the results are collected."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.compose.grammar import TARGET, Argument, in_quotes, literal_path
from components.compose.jobs import JobResult, hydra_job, results_of
from components.compose.request import BEGINNINGS, RECIPE, Request
from components.compose.settings import PATHS
from components.core import registry
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
    with _told("--multirun"):
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


def launcher_words(name: str | None, jobs: int, cwd: Path) -> list[str]:
    """Hydra's own words for a launcher that starts so many jobs at a time. ``name`` None: ours, whose words ``run_jobs`` knows.

    Raises:
        UserError: a launcher that is not there, or one that has no such number.
    """
    if jobs < 1:
        raise UserError("jobs", f"{jobs!r} is no whole number above 0", "give 1, or as many as there are processors")
    chosen, own = ([], AT_A_TIME[0]) if name is None else ([f"hydra/launcher={name}"], None)
    if name is not None:
        from components.compose.hydra_sweep import launcher_options

        with _told("launcher"):
            own = next((n for n in AT_A_TIME if n in launcher_options(name, cwd)), None)
    if jobs > 1 and own is None:
        raise UserError("jobs", f"the launcher {name} cannot be told how many processes run at a time", "leave jobs= out")
    return [*chosen, *([f"hydra.launcher.{own}={jobs}"] if jobs > 1 else [])]


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
