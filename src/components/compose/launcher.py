"""Starts ``components train`` once for each job. A job that fails gives NaN to the sweeper, so the others still run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.plugins import launcher as hydra_launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from components.core import terminal
from components.core.errors import UserError


@dataclass
class ComponentsLauncherConf:
    """``n_jobs``: how many run at the same time; with more than one, or if ``quiet``, each writes what it prints to ``output.txt``.

    ``silent``: the launcher itself prints nothing.
    """

    _target_: str = "hydra_plugins.components_launcher.ComponentsLauncher"
    n_jobs: int = 1
    quiet: bool = False
    silent: bool = False


ConfigStore.instance().store(group="hydra/launcher", name="components", node=ComponentsLauncherConf, provider="components")


class Launcher(hydra_launcher.Launcher):
    def __init__(self, n_jobs: int = 1, quiet: bool = False, silent: bool = False) -> None:
        self.n_jobs, self.quiet, self.silent = n_jobs, quiet or n_jobs > 1, silent
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        del task_function  # a process of its own needs none
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        total = initial_job_idx + len(job_overrides)
        folders = [self._folder(initial_job_idx + i, list(overrides)) for i, overrides in enumerate(job_overrides)]
        if len({*folders}) < total - initial_job_idx:
            raise UserError("hydra.sweep.subdir", "gives two jobs the same folder", "put ${hydra.job.num} into it")

        def run(index: int) -> JobReturn:
            return self._run(initial_job_idx + index, list(job_overrides[index]), folders[index], total)

        if self.n_jobs == 1:
            return [run(i) for i in range(len(job_overrides))]
        with ThreadPoolExecutor(self.n_jobs) as pool:
            return list(pool.map(run, range(len(job_overrides))))

    def _run(self, number: int, overrides: list[str], folder: Path, total: int) -> JobReturn:
        from components.compose.jobs import run_job

        self._tell(f"job {number} of {total}: {' '.join(filter_overrides(overrides))}")
        result = run_job(number, filter_overrides(overrides), folder, quiet=self.quiet)
        if result.exit_code:
            why = f": {result.error}" if self.quiet else ""  # what was not printed
            self._tell(f"job {number} failed with exit code {result.exit_code}{why}; the others go on")
        made = JobReturn()
        made.overrides, made.working_dir, made.status = list(overrides), str(folder), JobStatus.COMPLETED
        made.return_value = result.objective
        return made

    def _tell(self, text: str) -> None:
        if not self.silent:
            terminal.tell(text)

    def _folder(self, number: int, overrides: list[str]) -> Path:
        assert self.config is not None
        assert self.hydra_context is not None
        if OmegaConf.to_container(self.config.hydra.sweep, resolve=False)["subdir"] == "${hydra.job.num}":  # type: ignore[index, call-overload]
            return Path(str(self.config.hydra.sweep.dir)) / str(number)
        named = [o.partition("=")[2] for o in overrides if o.startswith("hydra.sweep.subdir=")]
        if named and re.fullmatch(r"\w+", named[-1]):
            return Path(str(self.config.hydra.sweep.dir)) / named[-1]
        config: Any = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return Path(str(OmegaConf.select(config, "hydra.sweep.dir"))) / str(OmegaConf.select(config, "hydra.sweep.subdir"))
