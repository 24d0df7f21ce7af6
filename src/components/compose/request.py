"""What a command was asked for: its words ``key=value``, parsed once. Imports no torch, and Hydra only to read a value."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from components.compose.grammar import Argument, in_quotes, read_value, split
from components.compose.python_values import words_of
from components.core.config_types import Overrides
from components.core.errors import UserError

RECIPE = "recipe"
BEGINNINGS = (RECIPE, "resume", "init_from")  # they say where a run begins: each is a name or a path
_NAME = re.compile(r"[\w+-]+")
_INSTEAD = {
    RECIPE: "components list recipe says which there are",
    **dict.fromkeys(BEGINNINGS[1:], "give a run's folder, its time, a checkpoint, or null"),
}


@dataclass(frozen=True)
class Request:
    """The words of a command, taken apart.

    Args:
        arguments: all of them, in the order in which they were typed.
        hydra: Hydra's own words (``hydra.sweep.dir=there``), as they were typed. They steer a sweep.
    """

    arguments: tuple[Argument, ...] = ()
    hydra: tuple[str, ...] = ()

    @classmethod
    def of(cls, words: Overrides, recipe: str | None = None) -> Request:
        """The request that ``words`` make.

        Args:
            words: ``key=value``, as on the command line, or mappings as a recipe's file has them, whose values are taken as they are.
            recipe: a recipe's name or file, as ``recipe=`` among the words would say it.

        Raises:
            UserError: a word is no ``key=value``; or ``recipe=``, ``resume=`` or ``init_from=`` is there twice, or without a name.
        """
        said, hydra = words_of(words), []
        arguments: list[Argument] = []
        for word in said:
            if isinstance(word, str) and is_hydra(word):
                hydra.append(word)
            else:
                arguments.append(split(word) if isinstance(word, str) else word)
        request = cls(tuple(arguments), tuple(hydra))
        if recipe:
            request = request.of_recipe(recipe)
        for key in BEGINNINGS:
            found = [a for a in request.arguments if _begins(a, key)]
            if len(found) > 1:
                raise UserError(key, f"given twice: {', '.join(a.literal or 'null' for a in found)}", "choose one")
            if found and (found[0].value if found[0].from_python else found[0].text) == "":
                raise UserError(key, f"no name after {key}=", _INSTEAD[key])
        for argument in request.arguments:
            if argument.path[0] == RECIPE and not _begins(argument, RECIPE):
                raise _no_recipe(argument)
        return request

    @property
    def given(self) -> tuple[str, ...]:
        """Which of ``recipe``, ``resume`` and ``init_from`` are there. ``=null`` counts: it undoes what a recipe says."""
        return tuple(key for key in BEGINNINGS if self._first(key))

    @property
    def recipe(self) -> str | None:
        """The recipe's name or file; None where none is given.

        Raises:
            UserError: what is given is a sweep, or no name.
        """
        argument = self._first(RECIPE)
        if argument is None:
            return None
        name = argument.literal
        if argument.from_python and isinstance(argument.value, str):
            return name
        if name is not None and (name != argument.text or _NAME.fullmatch(name) or any(c in name for c in "/.~ ")):
            return name
        value = argument.value if argument.from_python else read_value(argument.text or "", argument.typed)
        if not isinstance(value, str):
            raise _no_recipe(argument)
        return value

    @property
    def resume(self) -> str | None:
        """The run to go on with; None where none is given, or null."""
        argument = self._first("resume")
        return argument.literal if argument else None

    @property
    def init_from(self) -> str | None:
        """The run to take the weights of; None where none is given, or null."""
        argument = self._first("init_from")
        return argument.literal if argument else None

    @property
    def overrides(self) -> tuple[Argument, ...]:
        """What is said about the parts and settings of a run, wherever it begins."""
        return self.without(*BEGINNINGS).arguments

    def path(self, key: str) -> str | None:
        """What a setting that holds a path, like ``paths.runs``, is set to; None where nothing or null is said."""
        return next((a.at(key) for a in reversed(self.arguments) if key in a.keys), None)

    def without(self, *keys: str) -> Request:
        """The same without some of ``recipe``, ``resume`` and ``init_from``."""
        return replace(self, arguments=tuple(a for a in self.arguments if not any(_begins(a, key) for key in keys)))

    def of_recipe(self, name: str) -> Request:
        """The same with a recipe that was named beside the words."""
        text = name if re.fullmatch(r"[\w./:-]+", name) else in_quotes(name)
        return replace(self, arguments=(Argument("", (RECIPE,), text, f"{RECIPE}={text}"), *self.arguments))

    def _first(self, key: str) -> Argument | None:
        return next((a for a in self.arguments if _begins(a, key)), None)


def recipe_word(word: str) -> str | None:
    """The name in ``recipe=NAME``; None for any other word. For words that may still be typed, or mean something else than an override."""
    match = re.fullmatch(r"\+{0,2}recipe=(.*)", word, re.S)
    return Argument("", (RECIPE,), match[1], word).literal or "" if match else None


def is_hydra(word: str) -> bool:
    """Whether it is Hydra's own (``hydra.sweep.dir=...``, ``hydra/launcher=joblib``)."""
    return re.match(r"[+~]*hydra[./=]", word) is not None


def _begins(argument: Argument, key: str) -> bool:
    """``key=...``; a ``+`` or ``++`` before it changes nothing."""
    return argument.path == (key,) and argument.sign != "~"


def _no_recipe(argument: Argument) -> UserError:
    return UserError(repr(argument.typed), "names no recipe", "write recipe=<name> or recipe=./file.yaml")
