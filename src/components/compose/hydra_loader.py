"""Hydra's config loader with our composing inside: Hydra keeps its own ``hydra.*``, everything else is ours, verbatim.

So Hydra's sweepers expand sweeps, and its launchers start jobs, without merging a part's node, which would keep replaced parts' options.
"""

from __future__ import annotations

from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathElement
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from components.compose.composed import compose
from components.core.resources import folders

LAUNCHER = "hydra/launcher=components"
QUIET = ("hydra/hydra_logging=none", "hydra/job_logging=none", "hydra.output_subdir=null")


def is_hydra(override: str) -> bool:
    """Whether it is Hydra's own (``hydra.sweep.dir=...``, ``hydra/launcher=joblib``)."""
    return override.lstrip("+~").startswith(("hydra.", "hydra/"))


class Loader(ConfigLoaderImpl):
    """Composes a job's config by ``compose``; the sweep's master config holds the overrides as they were typed."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd
        path = create_config_search_path(None)
        for whose, folder in folders("conf", cwd):
            path.get_path().insert(-1, SearchPathElement(whose, str(folder)))  # Hydra's schemas stay last
        super().__init__(path)

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
        cfg = super().load_configuration(None, own, run_mode, from_shell, validate_sweep_overrides)
        with open_dict(cfg):
            cfg.hydra.overrides.task = task
            if run_mode == RunMode.RUN:
                composed = compose(None, task, cwd=self.cwd)
                for key, value in composed.config.items():
                    cfg[key] = value
                parsed = [OverridesParser.create().parse_override(o) for o in task]
                keys = cfg.hydra.job.config.override_dirname
                cfg.hydra.job.override_dirname = get_overrides_dirname(
                    parsed, exclude_keys=list(keys.exclude_keys), item_sep=keys.item_sep, kv_sep=keys.kv_sep
                )
        return cfg
