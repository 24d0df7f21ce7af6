"""Every part as a group of anybody's Hydra app: the config source ``components://``, which an app names in ``hydra.searchpath``.

The configs are made from the signatures when Hydra asks for one. No part is imported, and an app that does not name the source never asks.

``components/<kind>/<name>``: the part, to be built by ``hydra.utils.instantiate``; it stands at ``<kind>`` unless ``@`` says another place.
``<kind>/<socket>/<name>``: what stands in a socket of such a part, and so on inwards: ``model/attention/mask``.
``components://model@net``: the parts of the kind ``model`` at the app's own group ``net`` too, their sockets at ``net/attention``.
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
    """Hydra's view of the registry. ``path``: empty, or a kind, or ``kind@group``: a group of the app that has the parts of this kind."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        kind, at, group = self.path.partition("@")
        if (kind or at) and (kind not in registry.kinds() or not re.fullmatch(r"\w[\w-]*(/\w[\w-]*)*", group or kind)):
            known = nearest(kind, registry.kinds(), called="kinds")
            raise SearchPathException(f"{path}: write {SCHEME}://, {SCHEME}://<kind> or {SCHEME}://<kind>@<group>; {known}")
        self.kind, self.group = kind, group or kind

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        path = words(config_path)
        return bool(path) and (path == [SCHEME] or path == words(self.group)[: len(path)] or bool(self._kinds(path)))

    def is_config(self, config_path: str) -> bool:
        return self._entry(words(config_path)) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        path = words(config_path)
        groups = self._groups_in(path) if results_filter != ObjectType.CONFIG else set()
        configs = {n for kind in self._kinds(path) for n in registry.names(kind)} if results_filter != ObjectType.GROUP else set()
        return sorted(groups | configs)

    def load_config(self, config_path: str) -> ConfigResult:
        path = words(config_path)
        entry = self._entry(path)
        if entry is None:
            raise ConfigLoadError(f"Config not found : {config_path}")
        if path[:-1] == words(self.group):
            config, package = whole_config(entry), None
        elif path[0] == SCHEME:
            config, package = whole_config(entry, below=entry.kind), entry.kind
        else:
            config, package = inner_config(entry), None
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
        if len(path) == 2 and path[0] == SCHEME:
            return [[path[1]]] if path[1] in registry.kinds() else []
        own = words(self.group)
        if own and path[: len(own)] == own and (way := _inwards([[self.kind]], path[len(own) :])):
            return way
        return _inwards([[path[0]]], path[1:]) if len(path) > 1 and path[0] in registry.kinds() else []

    def _groups_in(self, path: list[str]) -> set[str]:
        """The groups in a group. A socket of a kind that the path has passed can be asked for, but is not listed: there would be no end."""
        own = words(self.group)
        found = set(own[len(path) : len(path) + 1]) if path == own[: len(path)] else set()
        if path == [SCHEME]:
            return found | set(registry.kinds())
        way = self._way(path) if path[:1] != [SCHEME] else []
        passed = {kind for kinds in way for kind in kinds}
        return found | {socket for kind in (way[-1] if way else ()) for socket, kinds in _sockets(kind).items() if not passed & {*kinds}}


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
