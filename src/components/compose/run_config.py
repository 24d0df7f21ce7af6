"""One pass over the sources, default < recipes < command line: parts go to the tree, everything else to the run's settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components import __version__
from components.compose.difference import remember
from components.compose.grammar import Argument, escaped, flat, refuse_targets
from components.compose.layers import resolve_inheritance
from components.compose.notes import Notes
from components.compose.reading import root_of
from components.compose.recipes import Page, read_family
from components.compose.settings import RunSettings
from components.compose.sources import DEFAULT, ConfigSource, Override
from components.compose.strangers import check_recipe, check_values_of, without_paths
from components.compose.tree import Tree
from components.compose.yaml_files import located, short
from components.core import registry
from components.core.config_types import Config
from components.core.errors import UserError, nearest
from components.core.groups import GROUPS
from components.core.signature import Option

HOW_TO_REGISTER = (
    "no code that registers it has run here: run its cell, import its module, or install its package, then load again"
)
SCHEMA = 1  # of the spelled-out config
ABOUT = "components"  # its key for versions and for the choices of groups that are no parts


class Run:
    """A recipe's family (or a saved config), composed, and then the command line on top of it.

    ``said`` is the tree of what was said so far. ``tree`` is a copy of it that is resolved, and ``config`` that copy spelled out.
    """

    def __init__(self, recipe: str | None, base: Config | None, cwd: Path, choices: Config, values: Config) -> None:
        refuse_targets(base or {}, "saved config")
        self.cwd, self.base, self.values = cwd, base or {}, values
        self.family_notes: list[str] = []
        self.pages = [] if recipe is None else read_family(recipe, cwd, self.family_notes)
        self.recipe = self.pages[-1].name if self.pages else str(self.base.get("recipe", ""))
        self.sources = [ConfigSource(i + 1, p.label) for i, p in enumerate(self.pages)]
        self.last = ConfigSource(len(self.pages) + 2, "command line")
        kinds = registry.kinds()
        self.groups = {g: c for g, c in choices.items() if g not in kinds or g in GROUPS}
        self.said = Tree(root_of({g: c for g, c in choices.items() if g not in self.groups}), Notes())
        self.settings_said: list[tuple[Config, ConfigSource, Page | None]] = []
        self.settings = self._settings([])
        for page, source in zip(self.pages, self.sources):
            self._page(page, source)
        if self.base:
            self._saved()
        self._resolve()

    def override(self, arguments: list[Argument]) -> None:
        """Apply the command line. Each part of ``tree`` then remembers what the recipe alone has in its place."""
        alone = self.tree.root
        self.settings = self._settings(arguments)
        self._command_line(arguments)
        self._resolve()
        remember(self.tree.root, alone)

    def _resolve(self) -> None:
        self.tree = Tree(self.said.root.copy(), Notes([*self.said.notes.lines]))
        resolve_inheritance(self.tree, self.tree.root)
        self.config = self._spelled()

    @property
    def parts(self) -> dict[str, Option]:
        return self.said.root.options

    def _settings(self, arguments: list[Argument]) -> RunSettings:
        """Each group starts from one file, the last that anybody chose; what recipes say about it stays on top."""
        settings = RunSettings(self.cwd, notes=[*self.family_notes])
        chosen: dict[str, tuple[Any, ConfigSource]] = {g: (c, DEFAULT) for g, c in self.groups.items()}
        chosen.update({g: (c, DEFAULT) for g, c in (self.base.get(ABOUT) or {}).get("choices", {}).items() if g in self.groups})
        for page, source in zip(self.pages, self.sources):
            chosen.update(
                {path[0]: (choice, source) for path, choice in page.choices if len(path) == 1 and path[0] in self.groups}
            )
        self.saved_choices = {g: c for g, (c, _) in chosen.items()}
        for a in arguments:
            if self._is_choice(a):
                chosen[a.path[0]] = (a.read(), self.last)
        self.choices = {g: c for g, (c, _) in chosen.items()}
        for group, (choice, source) in chosen.items():
            settings.choose(group, choice, source)
        settings.start(self.values)
        for values, source, page in self.settings_said:
            with self._located(page):
                settings.say(values, source)
        return settings

    @contextmanager
    def _located(self, page: Page | None) -> Iterator[None]:
        """A mistake in here is a file's, whose line is named; without a page the saved config's."""
        try:
            yield
        except UserError as e:
            file = located(page.file, e.where) if page else "saved config"
            # a saved config names what was there when it was saved: a part of a notebook, of a script, or of a plug-in
            missing = page is None and isinstance(e, registry.UnknownPart)
            raise UserError(f"{file}: {e.where}", e.what, HOW_TO_REGISTER if missing else e.instead) from None

    def _is_choice(self, a: Argument) -> bool:
        return len(a.path) == 1 and a.path[0] in self.groups and a.sign != "~" and not a.is_mapping

    def _page(self, page: Page, source: ConfigSource) -> None:
        said = []
        where = short(page.file)
        for order, (path, value) in enumerate(page.choices):
            if path[0] in self.parts:
                said.append(Override(path, source, order, value, folder=page.file.parent, shown_as=where))
            elif path[0] not in self.groups or len(path) > 1:
                raise UserError(f"{where}: defaults", f"there is no group {'/'.join(path)!r}", self._instead(path[0]))
        values = page.values if page.own else check_recipe(page.values, where, self.parts, spelled=ABOUT in page.values)
        with self._located(page):
            own = self._values(values, source, where, page.file.parent, said)
        self.settings_said.append((own, source, page))

    def _saved(self) -> None:
        """A spelled-out config: what differs from the defaults counts as said by it."""
        schema = (self.base.get(ABOUT) or {}).get("schema", SCHEMA)
        if schema > SCHEMA:
            raise UserError(
                "saved config",
                f"its schema {schema} is newer than {SCHEMA}, the newest that this version knows",
                "update lightning-components",
            )
        source = ConfigSource(1, f"saved config of {self.recipe}" if self.recipe else "saved config", complete=True)
        check_values_of(self.base, "saved config", self.parts)
        values = without_paths(self.base)
        files = RunSettings(self.cwd)
        for group, choice in self.saved_choices.items():
            if isinstance(values.get(group), dict):
                files.choose(group, choice, DEFAULT)
                same = flat(files.config[group])
                values[group] = unflat({k: v for k, v in flat(values[group]).items() if k not in same or same[k] != v})
        with self._located(None):
            own = self._values(values, source, "saved config", self.cwd, [], spelled=True)
        self.settings_said.append((own, source, None))

    def _values(
        self, values: Config, source: ConfigSource, where: str, folder: Path, said: list[Override], *, spelled: bool = False
    ) -> Config:
        """Apply what is said about parts; what is said about the settings comes back."""
        own: Config = {}
        whole = spelled or ABOUT in values
        for key, value in values.items():
            path = tuple(str(key).replace("/", ".").split("."))
            if path[0] in self.parts:
                said.append(Override(path, source, len(said), value, None, folder, spelled, whole, shown_as=where))
            elif key not in ("recipe", ABOUT):
                if path[0] not in self.settings.config:
                    raise UserError(str(key), f"unknown key {path[0]!r}", self._instead(path[0]))
                for name in reversed(path[1:]):
                    value = {name: value}
                own[path[0]] = {**own[path[0]], **value} if path[0] in own else value
        self.said.apply_source(said)
        own = escaped(own) if whole else own
        self.settings.say(own, source)
        return own

    def _instead(self, name: str) -> str:
        """What was meant by a word at the top: the group or value of that name, or the socket that has it."""
        known = sorted([*self.parts, *self.settings.config, "recipe"])
        single = [group for group, option in self.parts.items() if not option.type.many]
        found = sorted(f"{group}.{name}" for group in single if (part := self.said.root.part(group)) and name in part.options)
        if found:
            return f"did you mean {' or '.join(found)}? groups and values: {', '.join(known)}"
        return nearest(name, known, called="groups and values")

    def _command_line(self, arguments: list[Argument]) -> None:
        said: list[Override] = []
        for order, a in enumerate(arguments):
            head = a.path[0]
            if head in self.parts:
                if a.sign == "~":
                    raise UserError(repr(a.typed), "a part's option is never deleted", f"set it: {a.key}=...")
                said.append(
                    Override(a.path, self.last, order, a.value, a.text, self.cwd, as_it_is=a.from_python, shown_as=a.typed)
                )
            elif head not in self.settings.config:
                raise UserError(
                    a.key,
                    f"unknown {'group' if len(a.path) > 1 or head in registry.KINDS else 'key'} {head!r}",
                    self._instead(head),
                )
        self.said.apply_source(said)
        for a in arguments:
            if a.path[0] in self.settings.config and not self._is_choice(a):
                self.settings.override(a, self.last)

    def _resolved(self) -> Config:
        """The settings' values; one that leads nowhere is the fault of the file that says it."""
        try:
            return self.settings.resolved()
        except UserError as e:
            for page in reversed(self.pages):
                if any(f"{path}.".startswith(f"{e.where}.") for path in flat(page.values)):
                    raise UserError(f"{located(page.file, e.where)}: {e.where}", e.what, e.instead) from None
            raise

    def _spelled(self) -> Config:
        spelled = self.tree.root.spelled()
        spelled.pop("name")
        settings = self._resolved()
        about = {"version": __version__, "schema": SCHEMA, "choices": dict(self.choices)}
        values = {k: v for k, v in settings.items() if k not in self.groups}
        return {ABOUT: about, "recipe": self.recipe, **values, **spelled, **{g: settings[g] for g in self.groups}}


def unflat(leaves: Config) -> Config:
    """{dotted path: leaf} -> nested."""
    out: Config = {}
    for path, value in leaves.items():
        *way, last = path.split(".")
        node = out
        for name in way:
            node = node.setdefault(name, {})
        if path:
            node[last] = value
    return out
