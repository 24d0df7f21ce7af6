"""Which parts each recipe has somewhere in its tree, by name or by default: found by composing all recipes, and kept while nothing changes."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from components.compose.completion_tree import PartialRun
from components.core import registry
from components.core.cache_file import cache_folder, read_cache, state_of, write_cache
from components.core.index import HOMES
from components.core.resources import folders, recipe_files

FORMAT = 1  # of the cache file


def recipes_with(label: str) -> list[str]:
    """The recipes that have the part ``kind/name``."""
    return [recipe for recipe, parts in parts_of_recipes().items() if label in parts]


def parts_of_recipes() -> dict[str, frozenset[str]]:
    """{recipe: labels of its parts}, of the recipes that this folder knows."""
    registry.static_entries()  # renews the index of plug-ins in the cache, where one has changed
    return _found(_stamp(), tuple((*key, id(entry)) for key, entry in registry.LIVE.items()))[0]


def _stamp() -> tuple[tuple[str | int, ...], ...]:
    """The state of all that decides: recipes and groups of options, the parts, the index of plug-ins, and the code that composes."""
    said = [file for where in ("recipes", "conf") for _, folder in folders(where) for file in folder.rglob("*.yaml")]
    # the parts' files and not their index, which stays old in a cache that cannot be written
    parts = [file for home in HOMES for file in home.rglob("*.py")]
    files = sorted({*said, *parts, *cache_folder().glob("plugin-*.json"), *Path(__file__).parent.glob("*.py")})
    return ((FORMAT, os.getcwd()), *((str(f), *state_of(f)) for f in files if f.is_file()))


@lru_cache(maxsize=1)
def _found(
    stamp: tuple[tuple[str | int, ...], ...], live: tuple[tuple[str | int, ...], ...]
) -> tuple[dict[str, frozenset[str]], list[registry.Entry]]:
    """(parts of each recipe, the parts of this process, which are held so that no other has their ids). A file is kept only where there are none."""
    if live:
        return _composed(), list(registry.LIVE.values())
    store = cache_folder() / "used.json"
    held = read_cache(store, stamp)
    if held is None:
        held = {recipe: sorted(parts) for recipe, parts in _composed().items()}
        write_cache(store, stamp, held)
    return {recipe: frozenset(parts) for recipe, parts in held.items()}, []


def _composed() -> dict[str, frozenset[str]]:
    recipes = recipe_files()
    return {name: frozenset(PartialRun([f"recipe={name}"], recipes).used()) for name in recipes}
