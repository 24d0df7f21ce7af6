"""Candidates for the word being typed: commands, flags, groups, parts, options and their values. Imports neither torch nor Hydra."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from components.cli.verbs import verbs
from components.compose.completion_tree import PartialRun
from components.compose.words import is_override
from components.core import registry, terminal
from components.core.groups import GROUPS
from components.core.resources import conf_folder, recipe_files
from components.core.signature import Option

SLICES = ("all", "first", "last", "last2", "every2", "every4at3", "from8", "to7", "8", "8_11")


def run(words: list[str]) -> int:
    """``-- WORD...``: print the candidates for the last word."""
    for line in candidates([w for i, w in enumerate(words) if (i, w) != (0, "--")] or [""]):
        terminal.show(line)
    return 0  # never an error: the shell would print it into the line


def candidates(words: list[str]) -> list[str]:
    """Whole words that begin as the last one of ``words`` does; what ends in ``=``, ``.`` or ``/`` is to be continued."""
    *before, current = words
    if not before:
        return _that_begin(verbs(), current)
    command = before[0]
    if command not in verbs():
        return []
    takes = verbs()[command].takes
    if current.startswith("-"):
        return _that_begin(_flags(command), current)
    if command == "list":
        return _that_begin([*registry.kinds(), "recipe"], current)
    if command in ("new", "catalogue"):
        return _that_begin(registry.kinds(), current)
    if command == "check" and "=" not in current and not any("=" in w for w in before[1:]):
        return _that_begin(_parts(current), current)
    if command == "completion":
        return _that_begin(("bash", "zsh", "fish"), current)
    if command == "runs" or ("run" in takes and all(is_override(w) or w.startswith("-") for w in before[1:])):
        return _that_begin(runs(), current)  # where there are none, the shell goes on to files
    if "overrides" not in takes:
        return []
    if command == "show" and "=" not in current and not any("=" in w for w in before[1:]):
        return _that_begin([*_parts(current), "recipe="], current)
    own = verbs()[command].words
    if current.partition("=")[0] in own and "=" in current:
        return []  # a number, which nobody can guess
    found = overrides([w for w in before[1:] if w.partition("=")[0] not in own], current, command)
    return [*found, *_that_begin((f"{word}=" for word in own), current)]


def overrides(before: list[str], current: str, command: str = "") -> list[str]:
    """Of ``key=value`` arguments, in the light of those that stand before."""
    partial = PartialRun(before, command=command)
    sign = re.match(r"[+~]*", current)[0]  # type: ignore[index]
    key, equals, value = current[len(sign) :].partition("=")
    if equals:
        path = re.split(r"[./]", key)
        done = re.match(r"(.*[,\[])?", value, re.S)[0]  # type: ignore[index]  # of a sweep or a list, the last one is being typed
        start = f"{sign}{key}={done}"
        return _that_begin((start + v for v in values(partial, path)), current)
    cut = max(key.rfind("."), key.rfind("/")) + 1
    path = [p for p in re.split(r"[./]", key[:cut]) if p]
    slash = key[cut - 1 : cut] == "/"
    return _that_begin((f"{sign}{key[:cut]}{name}" for name in names(partial, path, groups_only=slash)), current)


def names(partial: PartialRun, path: list[str], *, groups_only: bool) -> Iterable[str]:
    """What may follow ``path``: ``norm=`` to choose a part, ``norm.`` to go into it, ``eps=`` to set a value."""
    if not path:
        yield "recipe="
        for name in partial.top():
            yield f"{name}="
            if name in partial.defaults:
                yield f"{name}."
            if any(o.type.kind for o in partial.options([name]).values()):
                yield f"{name}/"
        return
    if partial.is_slices(path):
        yield from (f"{s}." for s in [*partial.entries_of_pattern(path), *SLICES])
        return
    yield from (f"{name}." for name in partial.members(path))
    for name, option in partial.options(path).items():
        if option.type.kind is not None:
            yield f"{name}="
            if not groups_only and partial.options([*path, name]):
                yield f"{name}."
        elif not groups_only:
            yield f"{name}." if partial.is_slices([*path, name]) else f"{name}="
    if not groups_only:
        yield from (f"{name}=" for name in partial.settings(path))


def values(partial: PartialRun, path: list[str]) -> list[str]:
    """What may stand after ``path=``."""
    if path == ["recipe"]:
        return list(recipe_files())
    if path in (["resume"], ["init_from"]):
        return [*(["auto"] if path == ["resume"] else []), *runs()]
    if len(path) == 1 and path[0] in partial.groups():
        files = {f.stem for folder in (conf_folder(), Path.cwd() / "conf") for f in (folder / path[0]).glob("*.yaml")}
        return sorted(files | set(registry.names(path[0]) if GROUPS[path[0]].chosen else ()))
    if len(path) == 1 and path[0] in registry.KINDS:
        return registry.names(path[0])
    option = partial.options(path[:-1]).get(path[-1])
    return _of(option, inherits=len(path) > 1) if option else []


def runs() -> list[str]:
    """Folders of runs below here, the latest first."""
    return sorted((f.parent.as_posix() for f in Path("runs").glob("*/*/config.yaml")), reverse=True)


def _of(option: Option, *, inherits: bool) -> list[str]:
    found = [str(v).lower() if isinstance(v, bool) else str(v) for v in option.type.allowed]
    if option.type.kind is not None:
        found += registry.names(option.type.kind) + (["inherit"] if inherits and option.default == "inherit" else [])
    if "bool" in option.type.bases:
        found += ["true", "false"]
    return found + (["null"] if option.type.optional else [])


def _parts(current: str) -> list[str]:
    """Kinds until there is a slash, then parts."""
    return [e.label for e in registry.entries().values()] if "/" in current else [f"{k}/" for k in registry.kinds()]


def _flags(command: str) -> list[str]:
    parser = argparse.ArgumentParser(add_help=False)
    import_module(f"components.cli.{command}").add_arguments(parser)
    return sorted({s for a in parser._actions for s in a.option_strings if s.startswith("--")} | {"--help"})


def _that_begin(found: Iterable[str], current: str) -> list[str]:
    return [c for c in dict.fromkeys(found) if c.startswith(current)]
