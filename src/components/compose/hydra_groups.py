"""Parts as groups of anybody's Hydra app: the config source ``components://``, which an app names in ``hydra.searchpath``.

The configs are made from the signatures when Hydra asks for one. No part is imported, and an app that does not name the source never asks.

``components://`` has a group for each kind, and one for each socket of its parts: ``components/<kind>/<name>`` is the part, to be built by
``hydra.utils.instantiate``, which stands at ``<kind>`` unless ``@`` says another place; ``<kind>/<socket>/<name>`` is what stands in a socket of it,
and so on inwards: ``model/attention/mask/full``.

``components://model@net`` has the parts of the kind ``model`` as the app's own group ``net``, their sockets as ``net/attention``.
"""

from __future__ import annotations

import re

from hydra.core.object_type import ObjectType
from hydra.errors import SearchPathException
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

from components.compose.hydra_config import inner_config, whole_config
from components.core import registry
from components.core.errors import nearest
from components.core.registry import Entry

SCHEME = "components"


class Groups(ConfigSource):
    """Hydra's view of the registry. ``path``: empty, or a kind, or ``kind@group``."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        kind, at, group = self.path.partition("@")
        if (kind or at) and (kind not in registry.kinds() or not re.fullmatch(r"\w[\w-]*(/\w[\w-]*)*", group or kind)):
            known = nearest(kind, registry.kinds(), called="kinds")
            raise SearchPathException(f"{path}: write {SCHEME}://, {SCHEME}://<kind> or {SCHEME}://<kind>@<group>; {known}")
        self.kind, self.root = kind, words(group or kind or SCHEME)  # the kind: none of all kinds

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        path = words(config_path)
        return path == self.root[: len(path)] or bool(self._kinds(path))

    def is_config(self, config_path: str) -> bool:
        return self._entry(words(config_path)) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        path = words(config_path)
        groups = self._groups_in(path) if results_filter != ObjectType.CONFIG else set()
        configs = (
            {n for kind in self._kinds(path) for n in registry.names(kind)} if results_filter != ObjectType.GROUP else set()
        )
        return sorted(groups | configs)

    def load_config(self, config_path: str) -> ConfigResult:
        path = words(config_path)
        entry = self._entry(path)
        if entry is None:
            raise ConfigLoadError(f"Config not found : {config_path}")
        package = None
        if path[: len(self.root)] != self.root or len(path) > len(self.root) + 1 + (not self.kind):
            config = inner_config(entry)
        elif self.kind:
            config = whole_config(entry)
        else:
            config, package = whole_config(entry, below=entry.kind), entry.kind
        return ConfigResult(self.provider, self.full_path(), OmegaConf.create(config), {"package": package})

    def _entry(self, path: list[str]) -> Entry | None:
        """The part that a config's path names."""
        keys = [(kind, path[-1].removesuffix(".yaml")) for kind in self._kinds(path[:-1])]
        return next((known for key in keys if (known := registry.entries(key[0]).get(key))), None)

    def _kinds(self, path: list[str]) -> list[str]:
        """The kinds whose parts a group holds; usually one."""
        way = self._way(path)
        return way[-1] if way else []

    def _way(self, path: list[str]) -> list[list[str]]:
        """The kinds that a group's path passes, from the part that is built to the sockets inside; empty if there is no such group."""
        if self.kind:
            return _inwards([[self.kind]], path[len(self.root) :]) if path[: len(self.root)] == self.root else []
        if path[:1] == self.root:
            return [[path[1]]] if len(path) == 2 and path[1] in registry.kinds() else []
        return _inwards([[path[0]]], path[1:]) if len(path) > 1 and path[0] in registry.kinds() else []

    def _groups_in(self, path: list[str]) -> set[str]:
        """The groups in a group. A socket of a kind that the path has passed can be asked for, but is not listed: there would be no end."""
        if path == self.root[: len(path)] and len(path) < len(self.root):
            return {self.root[len(path)]}
        if path == self.root and not self.kind:
            return set(registry.kinds())
        way = [] if path[:1] == [SCHEME] else self._way(path)
        passed = {kind for kinds in way for kind in kinds}
        return {socket for kind in (way[-1] if way else ()) for socket, kinds in _sockets(kind).items() if not passed & kinds}


def words(path: str) -> list[str]:
    return [word for word in path.split("/") if word]


def _inwards(way: list[list[str]], sockets: list[str]) -> list[list[str]]:
    for socket in sockets:
        kinds = sorted({k for kind in way[-1] for k in _sockets(kind).get(socket, ())})
        if not kinds:
            return []
        way = [*way, kinds]
    return way


def _sockets(kind: str) -> dict[str, set[str]]:
    """The sockets that parts of a kind have, each with the kinds that stand in it."""
    found: dict[str, set[str]] = {}
    for entry in registry.entries(kind).values():
        for name, option in entry.signature.sockets().items():
            if not option.type.many and option.type.kind is not None:
                found.setdefault(name, set()).add(option.type.kind)
    return found
