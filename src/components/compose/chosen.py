"""Which part stands where, for completion: the words before, then the recipe's files, then the defaults. Reads YAML and signatures only."""

from __future__ import annotations

import re
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from components.compose.words import is_override
from components.core import registry
from components.core.errors import UserError
from components.core.groups import GROUPS
from components.core.makers import INHERIT
from components.core.registry import Entry
from components.core.share import conf_folder, recipe_files
from components.core.signature import Option

DEPTH = 8  # of sockets in sockets; a block's branches that inherit would go round for ever
SELF = "_self_"


class Chosen:
    """The tree of parts as far as it can be known while a line is being typed; what is wrong in it is left out."""

    def __init__(self, words: list[str], recipes: dict[str, tuple[str, Path]] | None = None, command: str = "") -> None:
        """``recipes``: what ``recipe_files`` gives, for a caller that asks about many; ``command``: one that may have groups of its own."""
        self.recipes = recipe_files() if recipes is None else recipes
        overrides = [w for w in words if is_override(w)]
        recipe = next((w.removeprefix("recipe=") for w in reversed(overrides) if w.startswith("recipe=")), "")
        train = _read(conf_folder() / "train.yaml")
        own = _read(conf_folder() / f"{command}.yaml").get("defaults", []) if command else []
        self.defaults = {k: v for d in [*train.pop("defaults", []), *own] if isinstance(d, dict) for k, v in d.items()}
        self.run_values = train
        self.said: dict[tuple[str, ...], Any] = {(k,): v for k, v in self.defaults.items()}
        self._family(recipe or self.defaults.get("recipe", ""), [])
        for word in overrides:
            key, _, value = word.lstrip("+").partition("=")
            self._say(tuple(re.split(r"[./]", key)), value)

    def _family(self, recipe: str, inside: list[str]) -> None:
        if recipe in inside or recipe not in self.recipes:
            return
        values = _read(self.recipes[recipe][1])
        entries = values.pop("defaults", None)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, str) and entry != SELF:
                self._family(entry, [*inside, recipe])
            for key, name in entry.items() if isinstance(entry, dict) else ():
                self._say(tuple(re.split(r"[./]", str(key).removeprefix("override").strip().strip("/"))), name)
        self._say((), values)

    def _say(self, path: tuple[str, ...], value: Any) -> None:
        if not isinstance(value, dict):
            self.said[path] = value
            return
        name = value.get("preset") or value.get("name")
        if name and path:
            self.said[path] = name
        for key, inner in value.items():
            if key not in ("name", "preset"):
                self._say((*path, *str(key).split(".")), inner)

    def top(self) -> list[str]:
        """First words of a path: parts, groups of files, and the run's own values."""
        return [*(k for k in self.defaults if k != "recipe"), *self.run_values]

    def groups(self) -> list[str]:
        """The groups whose choices are files, not parts."""
        return [k for k in self.defaults if k != "recipe" and (k in GROUPS or k not in registry.kinds())]

    def used(self) -> set[str]:
        """Labels of every part in the tree, those that are there by default too; of a preset also the part that it spells out."""
        found: set[str] = set()
        waiting = [[k] for k in self.defaults] + [list(path) for path in self.said if len(path) > 1]
        seen: set[tuple[str, ...]] = set()
        while waiting:
            path = waiting.pop()
            entry = None if tuple(path) in seen else self.part(path)
            seen.add(tuple(path))
            if entry is not None:
                found |= {entry.label, f"{entry.kind}/{entry.preset_of or entry.name}"}
                waiting += [[*path, n] for n, o in entry.signature.options.items() if o.type.kind and len(path) < DEPTH]
                for name, option in entry.signature.options.items():
                    found |= _inside(option, self.said.get((*path, name), option.default), DEPTH) if option.type.many else set()
        return found

    @cached_property
    def _parts(self) -> dict[tuple[str, ...], Entry | None]:
        return {}

    def part(self, path: list[str]) -> Entry | None:
        """The part at a path; None where there is none."""
        key = tuple(path)
        if key not in self._parts:
            self._parts[key] = None  # a circle of inheritance ends here
            self._parts[key] = self._part(path)
        return self._parts[key]

    def _part(self, path: list[str]) -> Entry | None:
        if len(path) == 1:
            part = GROUPS[path[0]].part if path[0] in GROUPS else ""
            return _entry(path[0], part or self.said.get((path[0],))) if path[0] in self.defaults else None
        if len(path) == 2 and path[0] in GROUPS and GROUPS[path[0]].many:
            return _entry(GROUPS[path[0]].kind, path[1])
        if len(path) == 2 and isinstance(self.defaults.get(path[0]), list):  # a part of a list, by its name
            return _entry(path[0], path[1])
        option = self.options(path[:-1]).get(path[-1])
        if option is None or option.type.kind is None or option.type.many:
            return None
        name = _name(self.said.get(tuple(path), option.default))
        if name != INHERIT:
            return _entry(option.type.kind, name)
        if self.is_slices(path[:-2]):
            return self.part([*path[:-3], path[-1]])
        for depth in range(len(path) - 1, 0, -1):  # the nearest above that has a socket of this name, or of this kind
            for socket in dict.fromkeys((path[-1], option.type.kind)):
                above = [*path[:depth], socket]
                if above != path and socket in self.options(path[:depth]) and (found := self.part(above)):
                    return found
        return None

    def options(self, path: list[str]) -> dict[str, Option]:
        """Of the part at a path; below a slice of layers, the sockets that a layer has."""
        if len(path) > 1 and self.is_slices(path[:-1]):
            wiring = self.part(path[:-2])
            sockets = wiring.signature.declared.get("per_layer", ()) if wiring else ()
            return {n: o for n, o in (wiring.signature.options if wiring else {}).items() if n in sockets}
        part = self.part(path) if path else None
        return part.signature.options if part else {}

    def is_slices(self, path: list[str]) -> bool:
        """Whether the words below this path are slices of layers."""
        if len(path) < 2:
            return False
        part = self.part(path[:-1])
        option = part.signature.options.get(path[-1]) if part else None
        return option is not None and option.type.text.startswith("Slices")

    def entries_of_pattern(self, path: list[str]) -> list[str]:
        """The recipe's own names for layers, if it has a pattern."""
        pattern = self.said.get((*path[:-1], "pattern")) or ()
        words = re.findall(r"\w+", pattern) if isinstance(pattern, str) else pattern
        return list(dict.fromkeys(map(str, words)))

    def settings(self, path: list[str]) -> list[str]:
        """Keys of a group of files, as its chosen file has them; the callbacks that there are."""
        if len(path) != 1 or path[0] not in self.groups():
            return []
        if GROUPS[path[0]].many:
            return registry.names(GROUPS[path[0]].kind)
        folders = (Path.cwd() / "conf", conf_folder())
        file = next((f for d in folders if (f := d / path[0] / f"{self.said[path[0],]}.yaml").is_file()), None)
        return [k for k in _read(file) if k != "defaults"] if file else []


def _name(value: Any) -> Any:
    """Of a part that is written ``{name: top_k, k: 50}``, as in a signature's default."""
    return value.get("preset") or value.get("name") if isinstance(value, dict) else value


def _inside(option: Option, value: Any, depth: int) -> set[str]:
    """Labels of the parts that a socket's value names, and of those in them. An argument's value is text still."""
    if isinstance(value, str) and value.startswith(("[", "{")):
        value = _parsed(value)
    found: set[str] = set()
    for spec in value if isinstance(value, (list, tuple)) else [value]:
        entry = _entry(option.type.kind or "", _name(spec)) if spec != INHERIT else None
        if entry is not None:
            found |= {entry.label, f"{entry.kind}/{entry.preset_of or entry.name}"}
            said = spec if isinstance(spec, dict) else {}
            for name, inner in entry.signature.options.items() if depth else ():
                found |= _inside(inner, said.get(name, inner.default), depth - 1) if inner.type.kind else set()
    return found


def _entry(kind: str, name: Any) -> Entry | None:
    word = str(name).strip()
    if not name or word == INHERIT or kind not in registry.kinds():  # a group of files is asked for as well
        return None
    try:
        return registry.entry(kind, word)
    except UserError:
        return None  # a word that is not finished, or that train will refuse by name


def _parsed(text: str) -> Any:
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return None  # train will say what is wrong with it


@cache
def _read_yaml(file: Path) -> Any:
    return _parsed(file.read_text(encoding="utf8"))


def _read(file: Path) -> dict[str, Any]:
    try:
        value = _read_yaml(file)
    except (OSError, UnicodeDecodeError):
        return {}
    return {**value} if isinstance(value, dict) else {}
