"""The tree while a line is being typed: what cannot be read or does not fit is left out. Reads YAML and signatures only, so a shell can wait for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import yaml

from components.compose.layers import resolve_inheritance
from components.compose.lists import index_of
from components.compose.node import Node
from components.compose.notes import Notes
from components.compose.reading import every_part, layer_with, root_of
from components.compose.request import recipe_word
from components.compose.sources import ConfigSource, OptionValue, Override
from components.compose.tree import Tree
from components.compose.words import is_override
from components.core import registry, slices
from components.core.config_types import Config, Value
from components.core.content import plain
from components.core.errors import UserError
from components.core.groups import GROUPS
from components.core.resources import conf_folder, recipe_files
from components.core.signature import Option

SELF = "_self_"
PathWords = tuple[str, ...]


class LenientTree(Tree):
    """A tree that leaves out what does not fit. A socket for which an unknown part was chosen holds none."""

    @contextmanager
    def attempt(self) -> Iterator[None]:
        with suppress(UserError):
            yield

    def _apply(self, node: Node, override: Override, where: str, drop_if_unfit: bool) -> list[Override]:
        try:
            return super()._apply(node, override, where, drop_if_unfit)
        except UserError:
            head = override.path[0]
            if len(override.path) == 1 and head in node.options and node.options[head].type.kind:
                node.forget(head)
                node.edits.pop(head, None)
                node.given[head] = OptionValue(None, override.source)
            raise


class PartialRun:
    """What the words before the one that is being typed choose, on top of the recipe's files."""

    def __init__(self, words: list[str], recipes: dict[str, tuple[str, Path]] | None = None, command: str = "") -> None:
        """``recipes``: what ``recipe_files`` gives, for a caller that asks about many; ``command``: one that may have groups and values of its own."""
        self.recipes = recipe_files() if recipes is None else recipes
        overrides = [w for w in words if is_override(w)]
        recipe = next((name for w in reversed(overrides) if (name := recipe_word(w)) is not None), "")
        train = _read(conf_folder() / "train.yaml")
        own = _read(conf_folder() / f"{command}.yaml") if command else {}
        entries = [*train.pop("defaults", []), *own.pop("defaults", [])]
        self.defaults = {k: v for d in entries if isinstance(d, dict) for k, v in d.items()}
        self.run_values = train | own
        self.files = {
            k: v for k, v in self.defaults.items() if k not in registry.kinds() or k in GROUPS
        }  # group: what is chosen
        parts = {k: v for k, v in self.defaults.items() if k not in self.files}
        self.tree = LenientTree(root_of(parts), Notes())
        self.sources = 0
        self._family(recipe or self.defaults.get("recipe", ""), [])
        typed = [word.lstrip("+").partition("=") for word in overrides]
        self._say([(_path(key), _value(text)) for key, _, text in typed])
        resolve_inheritance(self.tree, self.tree.root)

    @property
    def root(self) -> Node:
        return self.tree.root

    def _family(self, recipe: str, inside: list[str]) -> None:
        if recipe in inside or recipe not in self.recipes:
            return
        values = _read(self.recipes[recipe][1])
        entries = values.pop("defaults", None)
        said: list[tuple[PathWords, Value]] = []
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, str) and entry != SELF:
                self._family(entry, [*inside, recipe])
            for key, name in entry.items() if isinstance(entry, dict) else ():
                said.append((_path(str(key).removeprefix("override").strip().strip("/")), name))
        self._say([*said, *((_path(str(key)), value) for key, value in values.items())])

    def _say(self, said: list[tuple[PathWords, Value]]) -> None:
        """What one file or the command line says."""
        self.sources += 1
        source = ConfigSource(self.sources, "")
        self.files.update({p[0]: value for p, value in said if len(p) == 1 and p[0] in self.files and isinstance(value, str)})
        known = [(path, value) for path, value in said if path[0] in self.root.options]
        self.tree.apply_source(Override(path, source, order, value) for order, (path, value) in enumerate(known))

    def top(self) -> list[str]:
        """First words of a path: parts, groups of files, and the run's own values."""
        return [*(k for k in self.defaults if k != "recipe"), *self.run_values]

    def groups(self) -> list[str]:
        """The groups whose choices are files, not parts."""
        return [k for k in self.files if k != "recipe"]

    def used(self) -> set[str]:
        """Labels of every part in the tree, those that are there by default too; of a preset also the part that it spells out."""
        beside = [part for group in self.files if group in GROUPS and (part := self._of_group([group]))]
        return {f"{p.kind}/{name}" for p in [*every_part(self.root), *beside] for name in (p.name, p.entry.preset_of or p.name)}

    def part(self, path: list[str]) -> Node | None:
        """The part at a path, a layer where the path names one; None where there is none."""
        if path and path[0] in GROUPS and path[0] in self.files:
            return self._of_group(path)
        node, words = self.root, list(path)
        while words:
            head = words.pop(0)
            head = node.entry.renamed.get(head, head)
            option = node.options.get(head)
            if option is None:
                return None
            if option.type.slices_layers and words:
                node = _layer(node, words.pop(0))
            elif option.type.many and words:
                try:
                    node = node.members[head][index_of(words.pop(0), node.members[head], "")]
                except UserError:
                    return None
            else:
                child = node.sockets.get(head)
                if child is None and option.type.kind is not None and node.inherits(head):
                    child = node.inherited(head)
                if child is None:
                    return None
                node = child
        return node

    def _of_group(self, path: list[str]) -> Node | None:
        """The part whose options stand in a group of settings."""
        group = GROUPS[path[0]]
        if group.many:
            name, deeper = (path[1] if len(path) > 1 else ""), path[2:]
        else:
            name, deeper = group.part or str(self.files[path[0]]), path[1:]
        if deeper or not group.kind:
            return None
        with suppress(UserError):  # a word that is not finished, or a user's own file
            return Node(group.kind, registry.entry(group.kind, name))
        return None

    def options(self, path: list[str]) -> dict[str, Option]:
        """Of the part at a path; below a slice of layers, the sockets that a layer has."""
        part = self.part(path) if path else None
        return part.options if part else {}

    def is_slices(self, path: list[str]) -> bool:
        """Whether the words below this path are slices of layers."""
        option = self.options(path[:-1]).get(path[-1]) if path else None
        return option is not None and option.type.slices_layers

    def members(self, path: list[str]) -> list[str]:
        """Names of the parts of a group that holds several."""
        return [part.name for part in self.root.members.get(path[0], ())] if len(path) == 1 else []

    def entries_of_pattern(self, path: list[str]) -> list[str]:
        """The recipe's own names for layers, if it has a pattern."""
        part = self.part(path[:-1])
        return list(dict.fromkeys(part.pattern())) if part else []

    def settings(self, path: list[str]) -> list[str]:
        """Keys of a group of files, as its chosen file has them; the callbacks that there are."""
        if len(path) != 1 or path[0] not in self.groups():
            return []
        if GROUPS[path[0]].many:
            return registry.names(GROUPS[path[0]].kind)
        folders = (Path.cwd() / "conf", conf_folder())
        file = next((f for d in folders if (f := d / path[0] / f"{self.files[path[0]]}.yaml").is_file()), None)
        return [k for k in _read(file) if k != "defaults"] if file else []


def _layer(node: Node, which: str) -> Node:
    """The first of the layers that a slice means, as they stand; of a slice that is not finished, one as the model has them."""
    depth, pattern, chosen = node.size("n_layers"), node.pattern(), {}
    with suppress(UserError):
        if isinstance(depth, int):
            first = slices.indices(which, depth, pattern)[0]
            chosen = slices.resolve(depth, pattern, node.layers, node.layer_sockets())[first]
    return layer_with(node, chosen)


def _path(key: str) -> PathWords:
    return tuple(re.split(r"[./]", key))


def _value(text: str) -> Value:
    """What an argument's text says; words that only YAML takes for true or false stay words."""
    value = _parsed(text)
    return text if isinstance(value, bool) and text not in ("true", "false") else value


def _parsed(text: str) -> Value:
    try:
        return plain(yaml.load(text, Loader=yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader), "")
    except (yaml.YAMLError, ValueError, RecursionError):
        return None  # train will say what is wrong with it


@cache
def _read_yaml(file: Path, time: int, size: int) -> Value:
    """Read once for each state of the file."""
    del time, size
    return _parsed(file.read_text(encoding="utf8"))


def _read(file: Path) -> Config:
    try:
        state = file.stat()
        value = _read_yaml(file, state.st_mtime_ns, state.st_size)
    except (OSError, UnicodeDecodeError):
        return {}
    return {**value} if isinstance(value, dict) else {}
