"""Words of a command, ``workers=2``, among the overrides that were typed to it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from components.core import registry
from components.core.errors import UserError

VALUES = ("seed", "paths", "callbacks", "recipe", "init_from")  # what a recipe has at its top beside parts


def taken(words: Sequence[str], known: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """(overrides, {word of the command: its value}) of what was typed to a command that knows these words.

    Raises:
        UserError: a word is there twice, or is nearly one of the command's and no value of a recipe.
    """
    rest, own = [], dict[str, str]()
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            if equals and (meant := _meant(key, known)):
                raise UserError(key, "unknown word", f"did you mean {meant!r}? words: {', '.join(known)}")
            rest.append(word)
        elif key in own:
            raise UserError(key, "is given twice", "choose one")
        else:
            own[key] = value
    return rest, own


def _meant(key: str, known: Sequence[str]) -> str | None:
    """The word of the command that is nearly ``key``, where that is nothing of a recipe."""
    of_a_recipe = key in VALUES or key in registry.kinds()
    return None if of_a_recipe else next(iter(get_close_matches(key, known, n=1, cutoff=0.75)), None)
