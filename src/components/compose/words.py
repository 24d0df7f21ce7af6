"""What the command line's words mean, before any of them is read: which recipe, which overrides. Imports no torch."""

from __future__ import annotations

import os

from components.core.errors import UserError


def is_override(word: str) -> bool:
    """``key=value``, where a run may stand as well: what is there as a file or a folder is none, whatever its name. ``+key=value`` always is."""
    return "=" in word and not os.path.exists(os.path.expanduser(word))


def recipe_and_overrides(words: list[str]) -> tuple[str | None, list[str]]:
    """``recipe=NAME`` taken out of the overrides; None if there is none, which means the default recipe."""
    recipes = [w.removeprefix("recipe=") for w in words if w.startswith("recipe=")]
    if len(recipes) > 1:
        raise UserError("recipe", f"given twice: {', '.join(recipes)}", "choose one")
    if recipes and not recipes[0]:
        raise UserError("recipe", "no name after recipe=", "components list recipe says which there are")
    return (recipes[0] if recipes else None), [w for w in words if not w.startswith("recipe=")]
