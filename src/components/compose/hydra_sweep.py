"""One sweep in Hydra's hands, by its public interface alone: its sweeper expands the overrides, and the launcher starts the jobs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext, RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from components.compose.hydra_loader import Loader
from components.core.resources import folders

_VERSION_BASE = "1.3"  # how Hydra reads its configs; Hydra 1.4 no longer knows the older ways
_cwd: ContextVar[Path | None] = ContextVar("cwd", default=None)  # of the sweep that begins; None for any other use of Hydra


class ConfFolders(SearchPathPlugin):
    """Hydra finds ``hydra/...`` groups in ``./conf`` and in ours too, after its own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        cwd = _cwd.get()
        for whose, folder in folders("conf", cwd) if cwd is not None else ():
            search_path.append(whose, str(folder))


class Callbacks(Callback):
    """Every callback of ``hydra.callbacks`` as one. What a callback raises is told as a warning: the jobs go on."""

    def __init__(self, config: DictConfig) -> None:
        self.callbacks = [instantiate(c) for c in (OmegaConf.select(config, "hydra.callbacks") or {}).values()]

    def on_run_start(self, config: DictConfig, **kwargs: object) -> None:
        self._tell("on_run_start", config=config, **kwargs)

    def on_run_end(self, config: DictConfig, **kwargs: object) -> None:
        self._tell("on_run_end", config=config, **kwargs)

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        self._tell("on_multirun_start", config=config, **kwargs)

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        self._tell("on_multirun_end", config=config, **kwargs)

    def on_job_start(self, config: DictConfig, **kwargs: object) -> None:
        self._tell("on_job_start", config=config, **kwargs)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: object) -> None:
        self._tell("on_job_end", config=config, job_return=job_return, **kwargs)

    def _tell(self, event: str, **kwargs: object) -> None:
        """The last callback hears of an end first."""
        for callback in reversed(self.callbacks) if event.endswith("_end") else self.callbacks:
            try:
                getattr(callback, event)(**kwargs)
            except Exception as e:  # somebody else's code; as Hydra itself does, it is told, and ends no sweep
                warnings.warn(f"Callback {type(callback).__name__}.{event} raised {type(e).__name__}: {e}", stacklevel=2)


@contextmanager
def _loaded(overrides: list[str], cwd: Path) -> Iterator[tuple[DictConfig, Loader]]:
    """Hydra's config of a sweep, and what has composed it."""
    Plugins.instance().register(ConfFolders)
    GlobalHydra.instance().clear()  # Hydra refuses to begin a second time
    token = _cwd.set(cwd)
    try:
        session = hydra.initialize(config_path=None, job_name="components", version_base=_VERSION_BASE)
    finally:
        _cwd.reset(token)
    with session:
        loader = Loader(GlobalHydra.instance().config_loader(), cwd)
        yield loader.load_configuration(None, overrides, RunMode.MULTIRUN), loader


@contextmanager
def _session(overrides: list[str], cwd: Path) -> Iterator[tuple[DictConfig, HydraContext]]:
    """Hydra's config of a sweep, and what its plug-ins are made with."""
    with _loaded(overrides, cwd) as (config, loader):
        callbacks = Callbacks(config)
        callbacks.on_multirun_start(config, config_name=None)
        context = HydraContext(config_loader=loader, callbacks=cast(Any, callbacks))  # Hydra's own class for it is not public
        yield config, context
        callbacks.on_multirun_end(config, config_name=None)


def sweep(overrides: list[str], cwd: Path, job: Callable[[Any], float]) -> Any:
    """Hand the overrides to Hydra's sweeper.

    Args:
        overrides: a sweep's, and Hydra's own.
        cwd: what relative paths are relative to.
        job: what Hydra's own launchers call for each job.

    Returns:
        what the sweeper returns: of Hydra's own, a list of ``JobReturn`` for each batch of jobs.

    Raises:
        HydraException: an override that Hydra does not read, or a choice that it does not have.
        UserError: a combination that does not compose.
    """
    with _session(overrides, cwd) as (config, context):
        sweeper = Plugins.instance().instantiate_sweeper(config=config, hydra_context=context, task_function=job)
        return sweeper.sweep(cast(list[str], OmegaConf.to_container(config.hydra.overrides.task, resolve=False)))


def launch(overrides: list[str], jobs: Sequence[Sequence[str]], cwd: Path, job: Callable[[Any], float]) -> Any:
    """Hand jobs that are known one by one to Hydra's launcher. The arguments and errors are those of ``sweep``; ``overrides`` are Hydra's own."""
    with _session(overrides, cwd) as (config, context):
        launcher = Plugins.instance().instantiate_launcher(config=config, hydra_context=context, task_function=job)
        return launcher.launch(jobs, initial_job_idx=0)


def launcher_options(name: str, cwd: Path) -> dict[str, object]:
    """What a launcher of Hydra's can be told, with what it does untold. HydraException: there is no such launcher."""
    with _loaded([f"hydra/launcher={name}"], cwd) as (config, _):
        return {str(name): value for name, value in config.hydra.launcher.items_ex(resolve=False)}
