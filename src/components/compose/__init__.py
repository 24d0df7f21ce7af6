"""Names -> one spelled-out config: a recipe and overrides composed, checked, and said where each value comes from."""

from __future__ import annotations

from components.compose.composed import Composed, compose
from components.compose.recipes import Recipe, all_recipes, find_recipe

__all__ = ["Composed", "Recipe", "all_recipes", "compose", "find_recipe"]
