"""What a notebook holds in variables, as arguments: numbers, texts, lists, paths, mappings, and classes or partials in the place of a part's name.

A value from Python is taken as it is. Nothing in a text is a comma, a quote or an interpolation, and a float keeps all of its digits.
"""

from __future__ import annotations

import functools
import numbers
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

from components.compose.grammar import Argument, refuse_targets, split
from components.compose.python_makers import described
from components.core import registry
from components.core.config_types import Overrides
from components.core.errors import UserError


def listed(overrides: Overrides) -> list[str | Mapping[str, object]]:
    """A list of them, also of one mapping.

    Raises:
        UserError: ``overrides`` is one text, or no list.
    """
    if isinstance(overrides, str):
        raise UserError("overrides", f"{overrides!r} is one text, and a list of them is needed", f"write [{overrides!r}]")
    if isinstance(overrides, Mapping):
        return [overrides]
    if not isinstance(overrides, Iterable):
        raise UserError("overrides", f"{overrides!r} is no list", "give ['key=value', ...] or {'key': value}")
    return [*overrides]


def words_of(overrides: Overrides) -> list[str | Argument]:
    """Words as they are, and an argument for each key of a mapping.

    Raises:
        UserError: a key is no path, or a value is nothing that a config can hold.
    """
    found: list[str | Argument] = []
    for one in listed(overrides):
        if isinstance(one, Mapping):
            found += [argument_of(key, value) for key, value in one.items()]
        elif isinstance(one, str):
            found.append(one)
        else:
            raise UserError("overrides", f"{one!r} is neither a text nor a mapping", "give 'key=value' or {'key': value}")
    return found


def argument_of(key: object, value: object) -> Argument:
    """``{"model.norm": "layer"}`` as an argument; a key may have ``+``, ``++`` or ``~`` before it, as a word has."""
    if not isinstance(key, str):
        raise UserError(repr(key), "is no key of a config", "write a text, such as 'model'")
    head = split(f"{key}=")
    held = held_by_config(value, head.key)
    refuse_targets(held, head.key)
    return Argument(head.sign, head.path, None, f"{key}={held!r}", held, from_python=True)


def is_maker(value: object) -> bool:
    """A class, a function or a partial, which may stand where a part's name does."""
    return isinstance(value, (type, functools.partial, FunctionType))


def held_by_config(value: object, where: str) -> Any:
    """The value as plain data; classes and partials stay, to be named where it is known of which kind they are.

    Raises:
        UserError: a config holds no such thing.
    """
    if value is None or isinstance(value, (bool, str)):
        return value if not isinstance(value, str) else str(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Path):
        return os.fspath(value)
    if type(value).__module__.partition(".")[0] == "numpy":
        return held_by_config(value.tolist(), where)  # type: ignore[attr-defined]  # its scalars and arrays have it
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, (str, int)):
                raise UserError(f"{where}.{key}", "is no key of a config", "write a text")
        return {str(k): held_by_config(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [held_by_config(v, f"{where}.{i}") for i, v in enumerate(value)]
    if is_maker(value):
        return value
    raise UserError(
        where,
        f"a config holds no {type(value).__name__}",
        "give a number, a text, a list or a mapping; or a part by its name, class or partial",
    )


def named(kind: str, value: Any, where: str) -> Any:
    """A class or a partial as the name and the options that a config has for it; anything else as it is.

    Raises:
        UserError: it is none of the registered parts of that kind, so no config could name it.
    """
    if not is_maker(value):
        return value
    if isinstance(value, functools.partial) and value.args:
        raise UserError(where, "a partial with positional arguments would shift the sizes", "bind options by keyword")
    spec = described(kind, value)
    if not spec:
        called, place = _called(value)
        known = (e.label for e in registry.entries().values() if (e.module, e.qualname) == place and not e.preset_of)
        other = next(known, None)
        what = (
            f"{called} is {other}, no {kind}" if other else f"{called} is no registered {kind}, so a config could not name it"
        )
        raise UserError(
            where, what, f"{kind} parts: {', '.join(registry.names(kind))}" if other else f"@components.register({kind!r}, ...)"
        )
    return held_by_config(spec, where)


def _called(maker: Any) -> tuple[str, tuple[str, str]]:
    """(its name for messages, the place of its code)."""
    while isinstance(maker, functools.partial):
        maker = maker.func
    return maker.__name__, (maker.__module__, maker.__qualname__)


def plain_only(value: Any, where: str) -> None:
    """UserError where a class or a partial stands in settings, which are plain values."""
    if isinstance(value, dict):
        for key, inner in value.items():
            plain_only(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            plain_only(inner, f"{where}.{i}")
    elif is_maker(value):
        raise UserError(where, f"{_called(value)[0]} is code, and a setting is a plain value", "write a name or a number")
