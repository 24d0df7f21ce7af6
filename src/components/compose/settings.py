"""The settings of a run: the groups trainer, logger, callbacks and paths, and the run's own values (seed, resume, init_from).

The chosen file of each group comes first, or a part's defaults, then each recipe's values, then the command line's overrides. OmegaConf resolves
interpolations at the end. Options are held against the parts' signatures when all is known (``training/preflight.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.compose.grammar import Argument, escaped, flat, parse, refuse_targets
from components.compose.notes import show
from components.compose.python_values import plain_only
from components.compose.request import BEGINNINGS
from components.compose.sources import DEFAULT, ConfigSource
from components.compose.yaml_files import located, read_yaml, short
from components.core import registry
from components.core.config_types import Config
from components.core.errors import UserError, nearest
from components.core.groups import GROUPS
from components.core.paths import expanded
from components.core.resources import folders

PATHS = "paths"  # the group whose values are paths: what is typed is taken as it stands


@dataclass
class RunSettings:
    """What is composed so far, who chose which file, and where each value came from."""

    cwd: Path
    config: Config = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def files(self, group: str) -> dict[str, list[Path]]:
        """The files of a group by name, the winner first."""
        found: dict[str, list[Path]] = {}
        for _, root in folders("conf", self.cwd):
            for file in sorted((root / group).glob("*.yaml")):
                found.setdefault(file.stem, []).append(file)
        return dict(sorted(found.items()))

    def choices(self, group: str) -> list[str]:
        """What a group can start from: files, and of loggers the parts."""
        return sorted({*self.files(group), *_parts(group)})

    def choose(self, group: str, option: object, source: ConfigSource) -> None:
        """Start a group from its file, or from a part's defaults. UserError with the nearest choice and all."""
        self.config[group] = self._read(group, option, [])
        self._mark({group: self.config[group]}, source)

    def _read(self, group: str, option: Any, inside: list[str]) -> Config:
        known, parts = self.files(group), _parts(group)
        if not isinstance(option, str):
            raise UserError(group, f"{show(option)} is no choice of {group}", f"{group}: {', '.join(self.choices(group))}")
        if option in parts and option not in known:
            return parts[option]
        if option not in known:
            raise UserError(
                group, f"unknown {group} {option!r}", nearest(option, self.choices(group), called=f"{group} choices")
            )
        if option in inside:
            raise UserError(short(known[option][0]), f"builds on itself: {' -> '.join([*inside, option])}")
        if len(known[option]) > 1 or (option in parts and known[option][0].is_relative_to(self.cwd)):
            self.notes.append(f"{group}={option}: your own {short(known[option][0])} is used, not the shipped one")
        file = known[option][0]
        values = read_yaml(file)
        parents = values.pop("defaults", None) or []
        if not isinstance(parents, list):
            raise UserError(
                located(file, "defaults"), f"defaults: {show(parents)} is no list", "write - <name> lines, or - _self_"
            )
        for key in values if GROUPS[group].part else ():
            try:
                self._check(group, key)
            except UserError as e:
                raise UserError(f"{located(file, str(key))}: {e.where}", e.what, e.instead) from None
        merged: Config = {}
        for parent in parents:
            merged = _merged(merged, values if parent == "_self_" else self._read(group, parent, [*inside, option]))
        return _merged(merged, values)

    def start(self, values: Config) -> None:
        """The run's own values, as ``train.yaml`` has them."""
        self.config = {**deepcopy(values), **self.config}

    def say(self, values: Config, source: ConfigSource) -> None:
        """A recipe's (or a saved config's) values for groups and the run itself."""
        for key, value in values.items():
            if key not in self.config:
                raise UserError(key, f"unknown key {key!r}", nearest(key, self.config, called="keys"))
            if isinstance(self.config[key], dict):
                if not isinstance(value, dict):
                    raise UserError(
                        key,
                        f"{key} is a group of values, not {show(value)}",
                        f"choose a file of it by - override /{key}: <name>",
                    )
                for inner in value:
                    self._check(key, inner)
            self.config[key] = _merged(self.config[key], value)
        self._mark(values, source)

    def override(self, argument: Argument, source: ConfigSource) -> None:
        """One override of the command line; ``+``, ``++`` and ``~`` as in Hydra: ``+`` adds what is not there, ``++`` adds or changes, ``~`` deletes."""
        head = argument.path[0]
        if len(argument.path) == 1:
            return self._whole(argument, source)
        if not isinstance(self.config[head], dict):
            raise UserError(argument.key, f"{head} is a value, not a group: nothing stands below it", f"write {head}=...")
        if argument.sign == "~":
            return self._delete(argument, source)
        self._check(head, argument.path[1], added=argument.sign != "")
        typed = head == PATHS and len(argument.path) == 2 and argument.text is not None
        value = argument.literal if typed else _value(argument)
        self._set(argument, value, source)

    def _whole(self, argument: Argument, source: ConfigSource) -> None:
        """A value of the run itself, ``seed=1``, or a mapping of values for a group."""
        head, group = argument.path[0], isinstance(self.config[argument.path[0]], dict)
        if argument.sign == "~":
            instead = "delete keys of it" if group else "set it to null"
            raise UserError(repr(argument.typed), f"{head} cannot be deleted", instead)
        if group:
            value = _value(argument) if argument.from_python else argument.read()
            if not isinstance(value, dict):
                called = argument.text or show(value)
                raise UserError(argument.key, f"{called} is no choice of {head}", f"{head}: {', '.join(self.choices(head))}")
            self.say({head: value}, source)
        elif head in BEGINNINGS:
            self.config[head] = escaped(argument.literal) if argument.from_python else argument.literal
            self.origins[head] = source.label
        else:
            self._set(argument, _value(argument), source)

    def _set(self, argument: Argument, value: object, source: ConfigSource) -> None:
        """Put a value where the argument says; a mapping into a mapping is merged."""
        *way, last = argument.path
        node: Any = self.config
        for i, name in enumerate(way):
            if node.get(name) is None:
                node[name] = {}
            node = node[name]
            if not isinstance(node, dict):
                raise UserError(argument.key, f"{'.'.join(way[: i + 1])} is a value: nothing stands below it")
        if argument.sign == "+" and node.get(last) is not None and not isinstance(value, (dict, list)):
            raise UserError(argument.key, "there is a value already, and + adds what is not there", f"write {argument.key}=...")
        node[last] = _merged(node.get(last), value)
        below = flat(node[last] if isinstance(value, dict) else None, argument.key)
        self.origins.update(dict.fromkeys([argument.key, *below], source.label))

    def _delete(self, argument: Argument, source: ConfigSource) -> None:
        node: Any = self.config
        for name in argument.path[:-1]:
            node = node.get(name) if isinstance(node, dict) else None
        last = argument.path[-1]
        if not isinstance(node, dict) or last not in node:
            held = node if isinstance(node, dict) else {}
            raise UserError(argument.key, "there is nothing to delete", nearest(last, held, called="keys there"))
        del node[last]
        self.origins[argument.key] = source.label

    def _check(self, group: str, key: str, *, added: bool = False) -> None:
        """Whether a group has the key. What callbacks and loggers have depends on what is chosen, so it is looked at when that is known."""
        path = f"{group}.{key}"
        kind, part, refused = GROUPS[group].kind, GROUPS[group].part, GROUPS[group].refused
        if part:
            known = [*registry.entry(kind, part).signature.options, *refused]
            if key not in known:
                raise UserError(
                    path, f"the {group} has no argument {key!r}", nearest(key, known, called=f"arguments of the {group}")
                )
        elif not kind and not added and key not in self.config[group]:
            raise UserError(path, f"{group} has no key {key!r}", nearest(key, self.config[group], called=f"keys of {group}"))

    def _mark(self, values: Mapping[str, object], source: ConfigSource) -> None:
        if source == DEFAULT:
            return
        self.origins.update(dict.fromkeys(flat(values), source.label))

    def resolved(self) -> Config:
        """The values with interpolations (``${seed}``, ``${oc.env:HOME}``) resolved. UserError for one that leads nowhere."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        for path, value in flat(self.config).items():
            if (
                isinstance(value, str) and len(re.findall(r"(?<!\\)(?:\\\\)*\$\{", value)) > 16
            ):  # each level costs a hundred frames of the parser
                raise UserError(path, "has more than 16 interpolations in one value", "write the value")
        try:
            values: Any = OmegaConf.to_container(OmegaConf.create(self.config), resolve=True)
        except OmegaConfBaseException as e:
            raise UserError(str(getattr(e, "full_key", "") or "config"), str(e).strip().splitlines()[0]) from None
        except RecursionError:
            raise UserError("config", "a value stands for another in a circle, or too often", "write the value") from None
        for key, value in (values.get(PATHS) or {}).items():
            if isinstance(value, str):
                path = expanded(value, f"{PATHS}.{key}")
                values[PATHS][key] = str(path) if value.startswith("~") else value
        return values


def _parts(group: str) -> dict[str, Config]:
    """{name: node with every default} of the parts that can be chosen for a whole group, as a logger can."""
    found = registry.entries(group).values() if GROUPS[group].chosen else ()
    return {e.name: {"name": e.name, **{n: deepcopy(o.default) for n, o in e.signature.options.items()}} for e in found}


def _value(argument: Argument) -> Any:
    """What stands behind the ``=``, read by Hydra's grammar; it may be an interpolation, which ``resolved`` looks up."""
    if argument.from_python:
        plain_only(argument.value, argument.key)
        return escaped(argument.value)
    text, typed = "" if argument.text is None else argument.text, repr(argument.typed)
    override = parse(f"{argument.sign}{argument.key}={text}", argument.typed)
    if override.is_sweep_override():
        raise UserError(typed, "is a sweep", "add --multirun, or write a list as [a,b] and text with a comma in quotes")
    value = override.value()
    refuse_targets(value, typed)
    return value


def _merged(old: Any, new: Any) -> Any:
    """``new`` over ``old``. A mapping that names another part replaces the one before, whose options are not its own."""
    if (
        not isinstance(old, dict)
        or not isinstance(new, dict)
        or ("name" in old and new.get("name", old["name"]) != old["name"])
    ):
        return deepcopy(new)
    return {**old, **{k: _merged(old.get(k), v) for k, v in new.items()}}


def defaults_of(file: Path) -> tuple[Config, Config]:
    """({group: choice}, {key: value}) of ``train.yaml``."""
    values = read_yaml(file)
    entries = [entry for entry in values.pop("defaults", []) if isinstance(entry, dict)]
    return {group: choice for entry in entries for group, choice in entry.items()}, values
