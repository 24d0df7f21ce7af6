"""Which part the path of a config group means in the source ``components://`` (``hydra_groups.py`` says the forms)."""

from __future__ import annotations

import re

from components.compose.hydra_config import inner_config, whole_config
from components.core import registry
from components.core.config_types import Config
from components.core.errors import UserError, nearest
from components.core.registry import Entry

ROOT = "components"


class Paths:
    """The groups of one address.

    Args:
        address: empty for all kinds, or ``<kind>``, or ``<kind>@<group>``.

    Raises:
        UserError: there is no such kind, or the group is no path.
    """

    def __init__(self, address: str) -> None:
        kind, at, group = address.partition("@")
        if (kind or at) and (kind not in registry.kinds() or not re.fullmatch(r"\w[\w-]*(/\w[\w-]*)*", group or kind)):
            known = nearest(kind, registry.kinds(), called="kinds")
            raise UserError(address, "no kind of part, nor <kind>@<group>", known)
        self.kind = kind  # none: all of them
        self.root = words(group or kind or ROOT)

    def is_group(self, path: str) -> bool:
        way = words(path)
        return way == self.root[: len(way)] or bool(self._kinds(way))

    def config(self, path: str) -> tuple[Config, str | None] | None:
        """(config, the package where it stands by itself) of a path; None if it names none."""
        way = words(path)
        entry = self._entry(way)
        if entry is None:
            return None
        if self.kind:
            return (whole_config(entry) if way[:-1] == self.root else inner_config(entry)), None
        return (whole_config(entry, below=entry.kind), entry.kind) if way[:1] == self.root else (inner_config(entry), None)

    def configs_in(self, path: str) -> set[str]:
        return {name for kind in self._kinds(words(path)) for name in registry.names(kind)}

    def groups_in(self, path: str) -> set[str]:
        """The groups in a group. A socket of a kind that the path has passed can be asked for, but is not listed: there would be no end."""
        way = words(path)
        if way == self.root[: len(way)] and len(way) < len(self.root):
            return {self.root[len(way)]}
        if not self.kind and way[:1] == self.root:
            return set(registry.kinds()) if way == self.root else set()
        kinds = self._passed(way)
        passed = {kind for step in kinds for kind in step}
        return {socket for kind in (kinds[-1] if kinds else ()) for socket, held in _sockets(kind).items() if not passed & held}

    def _entry(self, way: list[str]) -> Entry | None:
        """The part that a config's path names."""
        keys = [(kind, way[-1].removesuffix(".yaml")) for kind in self._kinds(way[:-1])]
        return next((known for key in keys if (known := registry.entries(key[0]).get(key))), None)

    def _kinds(self, way: list[str]) -> list[str]:
        """The kinds whose parts a group holds; usually one."""
        passed = self._passed(way)
        return passed[-1] if passed else []

    def _passed(self, way: list[str]) -> list[list[str]]:
        """The kinds that a group's path passes, from the part that is built to the sockets inside; empty if there is no such group."""
        if self.kind:
            return _inwards(self.kind, way[len(self.root) :]) if way[: len(self.root)] == self.root else []
        if way[:1] == self.root:
            return [[way[1]]] if len(way) == 2 and way[1] in registry.kinds() else []
        return _inwards(way[0], way[1:]) if len(way) > 1 and way[0] in registry.kinds() else []


def words(path: str) -> list[str]:
    return [word for word in path.split("/") if word]


def _inwards(kind: str, sockets: list[str]) -> list[list[str]]:
    passed = [[kind]]
    for socket in sockets:
        kinds = sorted({held for outer in passed[-1] for held in _sockets(outer).get(socket, ())})
        if not kinds:
            return []
        passed.append(kinds)
    return passed


def _sockets(kind: str) -> dict[str, set[str]]:
    """The sockets that parts of a kind have, each with the kinds that stand in it."""
    found: dict[str, set[str]] = {}
    for entry in registry.entries(kind).values():
        for name, option in entry.signature.sockets().items():
            if not option.type.many and option.type.kind is not None:
                found.setdefault(name, set()).add(option.type.kind)
    return found
