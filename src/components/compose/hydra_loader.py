"""Hydra's config loader with our composing beside it: Hydra composes its own ``hydra.*``, everything else is composed here.

So Hydra's sweepers expand sweeps, and its launchers start jobs. Hydra never merges a part's node: it would keep the options of a replaced part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.config_source import ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from components.compose.composed import compose
from components.compose.request import is_hydra

LAUNCHER = "hydra/launcher=components"
QUIET = ("hydra/hydra_logging=none", "hydra/job_logging=none", "hydra.output_subdir=null")


class Loader(ConfigLoader):
    """Composes a job's config by ``compose``. The sweep's own config holds the overrides as they were typed.

    Args:
        inner: Hydra's loader, which composes ``hydra.*``.
        cwd: what relative paths are relative to.
    """

    def __init__(self, inner: ConfigLoader, cwd: Path) -> None:
        self.inner, self.cwd = inner, cwd

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        own = [o for o in overrides if is_hydra(o)]
        task = [o for o in overrides if not is_hydra(o)]
        del config_name  # there is none: everything that is not Hydra's own is composed below
        cfg = self.inner.load_configuration(None, own, run_mode, from_shell, validate_sweep_overrides)
        with open_dict(cfg):
            cfg.hydra.overrides.task = task
            if run_mode == RunMode.RUN:
                composed = compose(None, task, cwd=self.cwd)
                for key, value in composed.config.items():
                    cfg[key] = value
                cfg.hydra.job.override_dirname = override_dirname(task, cfg.hydra.job.config.override_dirname)
        return cfg

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The config of one job: Hydra's own overrides of the sweep, and the job's."""
        own = cast(list[str], OmegaConf.to_container(master_config.hydra.overrides.hydra))
        config = self.load_configuration(None, [*own, *sweep_overrides], RunMode.RUN)
        OmegaConf.copy_cache(from_config=master_config, to_config=config)  # a time in a folder's name is that of the sweep
        return config

    def get_search_path(self) -> ConfigSearchPath:
        return self.inner.get_search_path()

    def get_sources(self) -> list[ConfigSource]:
        return self.inner.get_sources()

    def list_groups(self, parent_name: str) -> list[str]:
        return self.inner.list_groups(parent_name)

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        return self.inner.get_group_options(group_name, results_filter, config_name, overrides)

    def compute_defaults_list(self, config_name: str | None, overrides: list[str], run_mode: RunMode) -> Any:
        return self.inner.compute_defaults_list(config_name, overrides, run_mode)


def override_dirname(overrides: list[str], form: Any) -> str:
    """What ``${hydra.job.override_dirname}`` stands for: the overrides, sorted, as one name for a folder.

    Args:
        overrides: of one job.
        form: Hydra's ``hydra.job.config.override_dirname``: ``exclude_keys``, ``item_sep`` between overrides, ``kv_sep`` in place of ``=``.
    """
    parsed = OverridesParser.create().parse_overrides(overrides)
    words = sorted(str(o.input_line) for o in parsed if o.key_or_group not in form.exclude_keys)
    return form.item_sep.join(words).replace("=", form.kv_sep)
