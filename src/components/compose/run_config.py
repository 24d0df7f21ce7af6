"""One pass over the stations, default < recipes < command line: parts go to the tree, everything else to the run's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components import __version__
from components.compose.grammar import Argument, read_value, refuse_targets
from components.compose.layers import finish
from components.compose.node import Node
from components.compose.notes import Notes
from components.compose.recipes import Page, read_family
from components.compose.settings import RunSettings, flat
from components.compose.stations import DEFAULT, Said, Station
from components.compose.strangers import check_recipe, check_values_of, without_paths
from components.compose.tree import Tree
from components.compose.yaml_files import located, short
from components.core import registry
from components.core.errors import UserError, nearest
from components.core.groups import GROUPS
from components.core.registry import Entry
from components.core.signature import Option, Signature, Type

SCHEMA = 1  # of the spelled-out config
ABOUT = "components"  # its key for versions and for the choices of groups that are no parts


class Run:
    """A recipe's family (or a saved config) and the command line, composed. ``config`` is the spelled-out result."""

    def __init__(
        self,
        recipe: str | None,
        base: dict[str, Any] | None,
        cwd: Path,
        choices: dict[str, Any],
        values: dict[str, Any],
        arguments: list[Argument],
    ) -> None:
        refuse_targets(base or {}, "saved config")
        self.cwd, self.base = cwd, base or {}
        self.settings = RunSettings(cwd)
        self.pages = [] if recipe is None else read_family(recipe, cwd, self.settings.notes)
        self.recipe = self.pages[-1].name if self.pages else str(self.base.get("recipe", ""))
        self.stations = [Station(i + 1, p.label) for i, p in enumerate(self.pages)]
        self.last = Station(len(self.pages) + 2, "command line")
        kinds = registry.kinds()
        sockets = {g: _socket(g, c) for g, c in choices.items() if g in kinds and g not in GROUPS}
        self.groups = {g: c for g, c in choices.items() if g not in kinds or g in GROUPS}
        self.tree = Tree(Node("run", Entry("run", "config", Signature(options=sockets))), Notes())
        self._start_groups(values, arguments)
        for page, station in zip(self.pages, self.stations):
            self._page(page, station)
        if self.base:
            self._saved()
        self._command_line(arguments)
        finish(self.tree, self.tree.root, "", [])
        self.config = self._spelled()

    @property
    def parts(self) -> dict[str, Option]:
        return self.tree.root.options

    def _start_groups(self, values: dict[str, Any], arguments: list[Argument]) -> None:
        """Each group starts from one file, the last that anybody chose; what recipes say about it stays on top."""
        chosen: dict[str, tuple[Any, Station]] = {g: (c, DEFAULT) for g, c in self.groups.items()}
        chosen.update({g: (c, DEFAULT) for g, c in (self.base.get(ABOUT) or {}).get("choices", {}).items() if g in self.groups})
        for page, station in zip(self.pages, self.stations):
            chosen.update(
                {path[0]: (choice, station) for path, choice in page.choices if len(path) == 1 and path[0] in self.groups}
            )
        self.saved_choices = {g: c for g, (c, _) in chosen.items()}
        for a in arguments:
            if self._is_choice(a):
                chosen[a.path[0]] = (read_value(a.text or "null", a.typed), self.last)
        self.choices = {g: c for g, (c, _) in chosen.items()}
        for group, (choice, station) in chosen.items():
            self.settings.choose(group, choice, station)
        self.settings.start(values)

    def _is_choice(self, a: Argument) -> bool:
        return len(a.path) == 1 and a.path[0] in self.groups and a.sign != "~" and not (a.text or "").startswith("{")

    def _page(self, page: Page, station: Station) -> None:
        said = []
        where = short(page.file)
        for order, (path, value) in enumerate(page.choices):
            if path[0] in self.parts:
                said.append(Said(path, station, order, value, folder=page.file.parent, source=where))
            elif path[0] not in self.groups or len(path) > 1:
                raise UserError(f"{where}: defaults", f"there is no group {'/'.join(path)!r}", self._instead(path[0]))
        values = page.values if page.own else check_recipe(page.values, where, self.parts, spelled=ABOUT in page.values)
        try:
            self._values(values, station, where, page.file.parent, said)
        except UserError as e:
            raise UserError(f"{located(page.file, e.where)}: {e.where}", e.what, e.instead) from None

    def _saved(self) -> None:
        """A spelled-out config: what differs from the defaults counts as said by it."""
        schema = (self.base.get(ABOUT) or {}).get("schema", SCHEMA)
        if schema > SCHEMA:
            raise UserError(
                "saved config",
                f"its schema {schema} is newer than {SCHEMA}, the newest that this version knows",
                "update lightning-components",
            )
        station = Station(1, f"saved config of {self.recipe}" if self.recipe else "saved config", complete=True)
        check_values_of(self.base, "saved config", self.parts)
        values = without_paths(self.base)
        files = RunSettings(self.cwd)
        for group, choice in self.saved_choices.items():
            if isinstance(values.get(group), dict):
                files.choose(group, choice, DEFAULT)
                same = flat(files.config[group])
                values[group] = unflat({k: v for k, v in flat(values[group]).items() if k not in same or same[k] != v})
        try:
            self._values(values, station, "saved config", self.cwd, [], spelled=True)
        except UserError as e:
            raise UserError(f"saved config: {e.where}", e.what, e.instead) from None

    def _values(
        self, values: dict[str, Any], station: Station, where: str, folder: Path, said: list[Said], *, spelled: bool = False
    ) -> None:
        own: dict[str, Any] = {}
        for key, value in values.items():
            path = tuple(str(key).replace("/", ".").split("."))
            if path[0] in self.parts:
                said.append(Said(path, station, len(said), value, folder=folder, spelled=spelled, source=where))
            elif key not in ("recipe", ABOUT):
                if path[0] not in self.settings.config:
                    raise UserError(str(key), f"unknown key {path[0]!r}", self._instead(path[0]))
                for name in reversed(path[1:]):
                    value = {name: value}
                own[path[0]] = {**own[path[0]], **value} if path[0] in own else value
        self.tree.apply(said)
        self.settings.say(own, station)

    def _instead(self, name: str) -> str:
        """What was meant by a word at the top: the group or value of that name, or the socket that has it."""
        known = sorted([*self.parts, *self.settings.config, "recipe"])
        found = sorted(
            f"{group}.{name}" for group in self.parts if (part := self.tree.root.part(group)) and name in part.options
        )
        if found:
            return f"did you mean {' or '.join(found)}? groups and values: {', '.join(known)}"
        return nearest(name, known, called="groups and values")

    def _command_line(self, arguments: list[Argument]) -> None:
        said: list[Said] = []
        for order, a in enumerate(arguments):
            head = a.path[0]
            if head in self.parts:
                if a.sign == "~":
                    raise UserError(repr(a.typed), "a part's option is never deleted", f"set it: {a.key}=...")
                said.append(Said(a.path, self.last, order, text=a.text, folder=self.cwd, source=a.typed))
            elif head == "hydra":
                raise UserError(
                    repr(a.typed), "Hydra's own settings steer sweeps", "add --multirun; where runs go is paths.runs"
                )
            elif head not in self.settings.config:
                raise UserError(
                    a.key,
                    f"unknown {'group' if len(a.path) > 1 or head in registry.KINDS else 'key'} {head!r}",
                    self._instead(head),
                )
        self.tree.apply(said)
        for a in arguments:
            if a.path[0] in self.settings.config and not self._is_choice(a):
                self.settings.override(a, self.last)

    def _resolved(self) -> dict[str, Any]:
        """The settings' values; one that leads nowhere is the fault of the file that says it."""
        try:
            return self.settings.resolved()
        except UserError as e:
            for page in reversed(self.pages):
                if any(f"{path}.".startswith(f"{e.where}.") for path in flat(page.values)):
                    raise UserError(f"{located(page.file, e.where)}: {e.where}", e.what, e.instead) from None
            raise

    def _spelled(self) -> dict[str, Any]:
        spelled = self.tree.root.spelled("")
        spelled.pop("name")
        settings = self._resolved()
        about = {"version": __version__, "schema": SCHEMA, "choices": dict(self.choices)}
        values = {k: v for k, v in settings.items() if k not in self.groups}
        return {ABOUT: about, "recipe": self.recipe, **values, **spelled, **{g: settings[g] for g in self.groups}}


def _socket(kind: str, choice: Any) -> Option:
    """A group of parts: of one, or in order of several where its default is a list."""
    many = isinstance(choice, list)
    return Option(
        kind, Type(f"{'Makers' if many else 'Maker'}[{kind!r}]", kind=kind, many=many, optional=choice is None), choice
    )


def unflat(leaves: dict[str, Any]) -> dict[str, Any]:
    """{dotted path: leaf} -> nested."""
    out: dict[str, Any] = {}
    for path, value in leaves.items():
        *way, last = path.split(".")
        node = out
        for name in way:
            node = node.setdefault(name, {})
        if path:
            node[last] = value
    return out
