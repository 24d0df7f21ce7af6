"""Parts as groups of anybody's Hydra app: the config source ``components://``, which an app names in ``hydra.searchpath``.

The configs are made from the signatures when Hydra asks for one. No part is imported, and an app that does not name the source never asks.

``components://`` has a group for each kind, and one for each socket of its parts: ``components/<kind>/<name>`` is the part, to be built by
``hydra.utils.instantiate``, which stands at ``<kind>`` unless ``@`` says another place; ``<kind>/<socket>/<name>`` is what stands in a socket of it,
and so on inwards: ``model/attention/mask/full``.

``components://model@net`` has the parts of the kind ``model`` as the app's own group ``net``, their sockets as ``net/attention``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hydra.core.object_type import ObjectType
from hydra.errors import SearchPathException
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

if TYPE_CHECKING:
    from components.compose.hydra_paths import Paths


class Groups(ConfigSource):
    """Hydra's view of the parts. Every Hydra app imports this file, so the registry is imported when an app names the source."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        from components.compose.hydra_paths import Paths
        from components.core.errors import UserError

        try:
            self.paths: Paths = Paths(self.path)
        except UserError as e:
            raise SearchPathException(f"{self.full_path()}: {e}") from None

    @staticmethod
    def scheme() -> str:
        return "components"

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return self.paths.is_group(config_path)

    def is_config(self, config_path: str) -> bool:
        return self.paths.config(config_path) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        groups = self.paths.groups_in(config_path) if results_filter != ObjectType.CONFIG else set()
        configs = self.paths.configs_in(config_path) if results_filter != ObjectType.GROUP else set()
        return sorted(groups | configs)

    def load_config(self, config_path: str) -> ConfigResult:
        found = self.paths.config(config_path)
        if found is None:
            raise ConfigLoadError(f"Config not found : {config_path}")
        config, package = found
        return ConfigResult(self.provider, self.full_path(), OmegaConf.create(config), {"package": package})
