"""Names -> one spelled-out config: a recipe and overrides composed, checked, and said where each value comes from."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what an editor reads
    from components.compose.composed import Composed as Composed
    from components.compose.composed import compose as compose
    from components.compose.recipes import Recipe as Recipe
    from components.compose.recipes import all_recipes as all_recipes
    from components.compose.recipes import find_recipe as find_recipe

__all__ = ["Composed", "Recipe", "all_recipes", "compose", "find_recipe"]


def __getattr__(name: str) -> Any:
    """Imported when asked for: completion, for which a shell waits, needs the tree alone."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'composed' if name in ('Composed', 'compose') else 'recipes'}"), name)
