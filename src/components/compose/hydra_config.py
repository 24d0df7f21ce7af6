"""What a part's signature says as a config of Hydra: its options with their defaults, and a defaults list with a line for each socket."""

from __future__ import annotations

from functools import cache

from components.compose.hydra_node import BUILD, MISSING, NUMBERS, TARGET
from components.compose.settings import defaults_of
from components.core.config_types import Config
from components.core.inheriting import INHERIT
from components.core.registry import Entry
from components.core.resources import shipped
from components.core.signature import REQUIRED, Option


def whole_config(entry: Entry, below: str = "") -> Config:
    """The config of a part that ``hydra.utils.instantiate`` builds, with its defaults list.

    Args:
        entry: of the part.
        below: the group that holds the groups of its sockets; the config's own if left out.
    """
    needed = [name for name, required in entry.signature.sizes.items() if required]
    node: Config = {TARGET: BUILD, "_recursive_": False}
    if not NUMBERS.issuperset(needed):
        node["_partial_"] = True  # whoever uses it gives the rest
    node |= {"kind": entry.kind, "name": entry.name}
    if entry.kind in chosen_by_a_run():
        node |= {name: MISSING for name in needed if name in NUMBERS}
    return {"defaults": _defaults(entry, below), **node, **_options(entry)}


def inner_config(entry: Entry) -> Config:
    """The config of a part in another's socket: its name and its options, with its defaults list."""
    return {"defaults": _defaults(entry, ""), "name": entry.name, **_options(entry)}


@cache
def chosen_by_a_run() -> frozenset[str]:
    """The kinds that stand alone: no parent gives them sizes."""
    return frozenset(defaults_of(shipped("conf") / "train.yaml")[0])


def _options(entry: Entry) -> Config:
    """What is no choice of a group, with its default."""
    return {
        name: MISSING if option.default == REQUIRED else option.default
        for name, option in entry.signature.options.items()
        if _choice(option) is None
    }


def _defaults(entry: Entry, below: str) -> list[object]:
    """The config itself, then a line for each socket; null where it takes what stands above or holds nothing, so that a word can choose."""
    sockets = [o for o in entry.signature.sockets().values() if not o.type.many]
    key = f"/{below}/{{0}}@{{0}}" if below else "{0}"
    return ["_self_", *({key.format(o.name): _choice(o)} for o in sockets)]


def _choice(option: Option) -> str | None:
    """The part that a socket has if nobody chooses."""
    if option.type.kind is None or option.type.many or not isinstance(option.default, str):
        return None
    return None if option.default in (INHERIT, REQUIRED) else option.default
