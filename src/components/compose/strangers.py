"""What a config of somebody else's may not say: where is written here, and what this machine's environment holds.

A saved config and a recipe that is given by its path can come from anywhere; ``./recipes``, ``./conf``, installed packages and the
command line are the user's own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from components.compose.settings import PATHS
from components.core.config_types import Config
from components.core.errors import UserError


def without_paths(values: Config) -> Config:
    """The values without ``paths``: runs and prepared data go where the user's own settings say."""
    return {k: v for k, v in values.items() if str(k).replace("/", ".").partition(".")[0] != PATHS}


def check_recipe(values: Config, where: str, parts: Collection[str], *, spelled: bool) -> Config:
    """What a recipe given by its path says, less the paths where it is a run's config (``spelled``).

    Raises:
        UserError: a recipe that somebody wrote says where to write, or asks for what is outside of it.
    """
    check_values_of(values, where, parts)
    kept = without_paths(values)
    if len(kept) < len(values) and not spelled:
        raise UserError(
            f"{where}: {PATHS}",
            "a recipe given by its path does not say where is written",
            f"give {PATHS}.runs= or {PATHS}.cache= on the command line, or put the recipe into ./recipes",
        )
    return kept


def check_values_of(values: Mapping[str, object], where: str, parts: Collection[str]) -> None:
    """``refuse_resolvers`` in what is resolved: the groups and values that are no ``parts``, whose texts are taken as they stand."""
    refuse_resolvers({k: v for k, v in values.items() if str(k).replace("/", ".").partition(".")[0] not in parts}, where)


def refuse_resolvers(value: object, where: str) -> None:
    """UserError for ``${oc.env:NAME}`` and its like, which read what is no config; ``${seed}`` names another value and may stay."""
    if isinstance(value, dict):
        for key, inner in value.items():
            refuse_resolvers(inner, f"{where}: {key}" if where.count(": ") < 4 else where)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            refuse_resolvers(inner, where)
    elif isinstance(value, str) and ":" in value.partition("${")[2]:
        raise UserError(
            where,
            f"{value!r} reads what is no config, and it would be kept with the run",
            "write the value itself, or put the file into ./recipes or ./conf",
        )
